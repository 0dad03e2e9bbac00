#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "util/check.h"
#include "util/mpi.h"
#include "util/peers.h"

namespace {

const char* variable(const char* name) {
    const char* value = getenv(name);
    return value && *value ? value : nullptr;
}

int number_of(const char* name) {
    const char* text = variable(name);
    char* end = nullptr;
    errno = 0;
    const long value = strtol(text, &end, 10);
    if (*end || errno || value < 0 || value > 1000000)
        die(Exit::Usage, "%s=%s: expected a whole number from 0; the launcher (mpirun, torchrun, srun) sets it", name,
            text);
    return static_cast<int>(value);
}

struct Launcher {
    const char *name, *rank, *size, *local;
};

// A process that srun started. In a job's script and in an interactive shell there is one, whatever the job has.
bool is_slurm_task() {
    const char* step = variable("SLURM_STEP_ID");
    constexpr unsigned long special = 0xfffffff0;  // from here on: the batch script, the interactive step
    return step && variable("SLURM_PROCID") && strtoul(step, nullptr, 10) < special;
}

std::vector<Launcher> launchers() {
    const Launcher mpirun = {"mpi", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
                   torchrun = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"};
    if (variable("TORCHELASTIC_RUN_ID")) return {torchrun};  // the one that srun or mpirun started is torchrun itself
    const char* const tasks = variable("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
    if (!is_slurm_task()) return {mpirun, {"mpi", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"}, torchrun};
    std::vector<Launcher> all = {mpirun, torchrun, {"slurm", "SLURM_PROCID", tasks, "SLURM_LOCALID"}};
    if (!mpi_library().empty()) {  // srun --mpi; a build without does as well with Slurm's variables
        all.insert(all.begin() + 1, {"mpi", "PMI_RANK", "PMI_SIZE", "SLURM_LOCALID"});
        all.insert(all.begin() + 2, {"mpi", "PMIX_RANK", tasks, "SLURM_LOCALID"});
    }
    return all;
}

}  // namespace

Rank find_rank() {
    for (const Launcher& launcher : launchers()) {
        if (!variable(launcher.size)) continue;
        if (!variable(launcher.rank)) {
            if (number_of(launcher.size) <= 1 || strncmp(launcher.size, "SLURM", 5) == 0) continue;
            die(Exit::Usage, "%s=%s without %s: start by mpirun, torchrun or srun, or unset it", launcher.size,
                variable(launcher.size), launcher.rank);
        }
        Rank own{number_of(launcher.rank), number_of(launcher.size), -1, launcher.name};
        if (own.rank >= own.size)
            die(Exit::Usage, "%s=%d, %s=%d: a rank is smaller than the number of processes", launcher.rank, own.rank,
                launcher.size, own.size);
        if (own.size == 1) return {};
        if (variable(launcher.local)) own.local = number_of(launcher.local);
        if (own.launcher == "mpi" && mpi_library().empty())
            die(Exit::Usage,
                "%s=%d: built without Open MPI: install libopenmpi-dev and build again; CUDA programs can also be "
                "started "
                "with torchrun",
                launcher.size, own.size);
        return own;
    }
    return {};
}
