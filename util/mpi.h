// mpi.h - the little of MPI that is not exchange of numbers: is it there, start it, pass a word around. The build has it
// where pkg-config or mpicxx finds Open MPI (KNAPSACK_MPI); all but mpi_library() is then to be called only in processes
// that mpirun or srun started.
#pragma once
#include <string>

std::string mpi_library();                            // "Open MPI 4.1.4", "" in a build without it
void mpi_start();                                     // once, by the thread that will make all calls
void mpi_end();                                       // when all processes have come here
std::string mpi_from_first(const std::string& word);  // process 0's
