#include "util/mpi.h"

#include "util/check.h"

#ifdef KNAPSACK_MPI
#include <mpi.h>

namespace {

void check(int result, const char* call) {
    if (result == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;
    MPI_Error_string(result, text, &length);
    die(Exit::Device, "%s: %s", call, text);
}

}  // namespace

std::string mpi_library() {
    return format_text("Open MPI %d.%d.%d", OMPI_MAJOR_VERSION, OMPI_MINOR_VERSION, OMPI_RELEASE_VERSION);
}

void mpi_start(int rank, int size) {
    int given = 0, own_rank = 0, own_size = 0;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &given), "MPI_Init_thread");
    check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
    check(MPI_Comm_rank(MPI_COMM_WORLD, &own_rank), "MPI_Comm_rank");
    check(MPI_Comm_size(MPI_COMM_WORLD, &own_size), "MPI_Comm_size");
    if (given < MPI_THREAD_FUNNELED) die(Exit::Device, "%s: without threads; install one with", mpi_library());
    if (own_rank != rank || own_size != size)
        die(Exit::Device,
            "%s counts this process as %d of %d, the launcher as %d of %d: it speaks another MPI; start with the "
            "mpirun of this one, or srun --mpi=none",
            mpi_library(), own_rank, own_size, rank, size);
}

void mpi_end() { check(MPI_Finalize(), "MPI_Finalize"); }

std::string mpi_from_first(const std::string& word) {
    std::string first = word;
    uint64_t bytes = word.size();
    check(MPI_Bcast(&bytes, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD), "MPI_Bcast");
    first.resize(bytes);
    check(MPI_Bcast(first.data(), narrow<int>(bytes), MPI_BYTE, 0, MPI_COMM_WORLD), "MPI_Bcast");
    return first;
}

#else

std::string mpi_library() { return ""; }
void mpi_start(int, int) { die(Exit::Usage, "built without Open MPI: install libopenmpi-dev and build again"); }
void mpi_end() {}
std::string mpi_from_first(const std::string& word) { return word; }

#endif
