// mpi.h - the little of MPI that is not exchange of numbers: is it there, start it, pass a word around. The build has it
// where pkg-config or mpicxx finds Open MPI (KNAPSACK_MPI); all but mpi_library() is then to be called only in processes
// that mpirun or srun started. What goes wrong dies with Exit::Device.
#pragma once
#include <string>

std::string mpi_library();  // "Open MPI 4.1.4", "" in a build without it
// Once, by the thread that will make all calls. Dies too where MPI counts otherwise: the launcher speaks another MPI.
void mpi_start(int rank, int size);
void mpi_end();                                       // when all processes have come here
std::string mpi_from_first(const std::string& word);  // process 0's
