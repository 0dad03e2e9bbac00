// peers.h - the processes of one run: who they are, a line between them for words and flags, and the watch that each
// keeps over the others. Numbers go by way of the communicator (kernels/communicator.h, kernels/cpu/communicator.h).
//
// Every process but the first holds one TCP connection to process 0. A thread on each end says every second that its
// process is there. So all processes end together, within seconds:
//   - one that dies sends its message ahead; process 0 prints it, as the only one, and marks the run FAILED; all leave
//     with its exit code,
//   - one that ends without a word (killed, its machine gone) or is silent for 30 s (stopped; KNAPSACK_PEER_TIMEOUT
//     chooses another limit) is named, and all others leave with Exit::Device,
//   - a signal that one of them hears reaches all (util/stop.h).
// How they find each other: the rank is torchrun's where it started the process itself (TORCHELASTIC_RUN_ID), else
// MPI's under mpirun or srun --mpi, else RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT, else Slurm's.
// Process 0's address goes around by MPI where the ranks are MPI's; else it is MASTER_ADDR at KNAPSACK_PORT, or at
// MASTER_PORT (+ 1 under torchrun, which keeps the port itself); under Slurm the first node of the step, at a port made
// of the job's number.
#pragma once
#include <memory>
#include <string>
#include <vector>

struct Rank {
    int rank = 0, size = 1;
    int local = 0;         // among the processes of this machine; -1: the environment does not say, Peers finds out
    std::string launcher;  // mpi, torchrun, slurm; "": one process
};

// Who this process is, from the environment. Dies with Exit::Usage on a rank that makes no sense, and where MPI started
// several processes of a build without it.
Rank find_rank();

class Peers {
  public:
    Peers();  // alone: nothing below takes any time
    // Connects to the others, and starts MPI where it is the launcher. Dies with Exit::Device when they cannot be
    // reached within a minute, naming where they were looked for and the variable to set. Only one of these can be
    // there at a time. From here on it is the watch that ends the program, in die and on signals (on_signals_exit).
    explicit Peers(const Rank& rank);
    ~Peers();  // waits until all have come here, or to exit(); ends MPI
    Peers(const Peers&) = delete;
    Peers& operator=(const Peers&) = delete;

    int rank() const;
    int size() const;
    int local() const;
    bool first() const { return rank() == 0; }  // the one that prints and writes

    // Of the main thread, by all processes in the same order.
    std::vector<std::string> exchange(const std::string& mine) const;  // everyone's words, by rank
    std::string from_first(const std::string& mine) const;             // process 0's
    int largest(int flag) const;                                       // of all processes'
    void barrier() const;

  private:
    struct State;
    std::unique_ptr<State> state_;
};
