// The calls of NCCL that our programs make, between processes that mpirun started: what crosses wires between GPUs goes
// by MPI. Linked in place of libnccl with the kernels that g++ compiled; without MPI for one process alone.
//
// A group is done at ncclGroupEnd, what is outside of one at once. What is received is NaN until its stream has passed
// (cuda_runtime.cpp): a missing join shows, a missing follow does not. Refused is what NCCL refuses, waits for for ever
// or leaves undefined: another size or another call on the other side, memory that is not the device's, overlapping
// memory in a group, a stream that does not exist, a group without an end, two processes on one GPU.
#include <nccl.h>

#include <climits>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/simt/runtime.h"
#ifdef KNAPSACK_MPI
#include <mpi.h>

struct ncclComm {
    int rank, size;
    MPI_Comm mpi;
};
#else
struct ncclComm {
    int rank, size;
};
#endif

namespace {

enum Kind : uint32_t { SEND, RECEIVE, BROADCAST, ALL_REDUCE };
struct Work {
    Kind kind;
    const char* from;
    char* to;
    size_t bytes;
    int peer;  // the other process; of a broadcast the one that has it
    ncclComm_t comm;
    cudaStream_t stream;
};

int depth = 0;
std::vector<Work> group;
std::string last_error;

ncclResult_t refuse(ncclResult_t result, const std::string& why) {
    last_error = why;
    return result;
}
#define TRY(call)                                                                        \
    do {                                                                                 \
        if (const ncclResult_t failure = (call); failure != ncclSuccess) return failure; \
    } while (0)

std::string text_of(Kind kind, size_t bytes) {
    const char* const names[] = {"a send", "a receive", "a broadcast", "a sum"};
    return names[kind] + (" of " + std::to_string(bytes) + " bytes");
}

// ---- messages: what they are, then the bytes ------------------------------------------------------------------------

struct Header {
    uint32_t kind, unused;
    uint64_t bytes;
};

#ifdef KNAPSACK_MPI

std::vector<std::vector<char>> sent;
std::vector<MPI_Request> requests;

ncclResult_t mpi(int result, const char* call) {
    if (result == MPI_SUCCESS) return ncclSuccess;
    char text[MPI_MAX_ERROR_STRING + 1] = "";
    int length = 0;
    MPI_Error_string(result, text, &length);
    return refuse(ncclSystemError, std::string(call) + ": " + text);
}
#define TRY_MPI(call) TRY(mpi(call, #call))

ncclResult_t connect(ncclComm_t comm, const ncclUniqueId& id) {
    int started = 0, size = 0;
    TRY_MPI(MPI_Initialized(&started));
    if (!started) return refuse(ncclSystemError, "this stand-in for NCCL joins processes that mpirun started");
    TRY_MPI(MPI_Comm_dup(MPI_COMM_WORLD, &comm->mpi));
    TRY_MPI(MPI_Comm_size(comm->mpi, &size));
    if (size != comm->size)
        return refuse(ncclInvalidArgument, std::to_string(comm->size) + " processes, MPI has " + std::to_string(size));
    ncclUniqueId first = id;
    TRY_MPI(MPI_Bcast(&first, sizeof first, MPI_BYTE, 0, comm->mpi));
    if (memcmp(&first, &id, sizeof id) != 0) return refuse(ncclInvalidArgument, "not the id of process 0");

    MPI_Comm machine;
    int device = 0;
    cudaGetDevice(&device);
    TRY_MPI(MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &machine));
    TRY_MPI(MPI_Comm_size(machine, &size));
    std::vector<int> devices(static_cast<size_t>(size));
    TRY_MPI(MPI_Allgather(&device, 1, MPI_INT, devices.data(), 1, MPI_INT, machine));
    TRY_MPI(MPI_Comm_free(&machine));
    int processes = 0;
    for (const int other : devices) processes += other == device;
    if (processes > 1)
        return refuse(ncclInvalidUsage, std::to_string(processes) + " processes on GPU " + std::to_string(device));
    return ncclSuccess;
}

ncclResult_t begin_sending(const Work& work, int to) {
    if (work.bytes > INT_MAX - sizeof(Header))
        return refuse(ncclInvalidArgument, "this stand-in sends less than 2 GiB");
    const Header header{work.kind, 0, work.bytes};
    std::vector<char> message(sizeof header + work.bytes);
    memcpy(message.data(), &header, sizeof header);
    memcpy(message.data() + sizeof header, work.from, work.bytes);
    sent.push_back(std::move(message));
    requests.emplace_back();
    TRY_MPI(MPI_Isend(sent.back().data(), static_cast<int>(sent.back().size()), MPI_BYTE, to, 0, work.comm->mpi,
                      &requests.back()));
    return ncclSuccess;
}

ncclResult_t receive(const Work& work, int from, std::vector<char>* bytes) {
    MPI_Message message;
    MPI_Status status;
    int size = 0;
    TRY_MPI(MPI_Mprobe(from, 0, work.comm->mpi, &message, &status));
    TRY_MPI(MPI_Get_count(&status, MPI_BYTE, &size));
    bytes->resize(static_cast<size_t>(size));
    TRY_MPI(MPI_Mrecv(bytes->data(), size, MPI_BYTE, &message, &status));
    Header header;
    memcpy(&header, bytes->data(), sizeof header);
    bytes->erase(bytes->begin(), bytes->begin() + sizeof header);
    const Kind expected = work.kind == RECEIVE ? SEND : work.kind;
    if (header.kind != expected || header.bytes != work.bytes)
        return refuse(ncclInvalidUsage, "process " + std::to_string(from) + " has begun " +
                                            text_of(static_cast<Kind>(header.kind), header.bytes) + ", process " +
                                            std::to_string(work.comm->rank) + " " + text_of(work.kind, work.bytes));
    return ncclSuccess;
}

ncclResult_t finish_sending() {
    TRY_MPI(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE));
    requests.clear();
    sent.clear();
    return ncclSuccess;
}

ncclResult_t disconnect(ncclComm_t comm) {
    if (comm->size > 1) TRY_MPI(MPI_Comm_free(&comm->mpi));
    return ncclSuccess;
}

#else

ncclResult_t no_mpi() { return refuse(ncclSystemError, "this stand-in for NCCL was built without MPI"); }
ncclResult_t connect(ncclComm_t, const ncclUniqueId&) { return no_mpi(); }
ncclResult_t begin_sending(const Work&, int) { return no_mpi(); }
ncclResult_t receive(const Work&, int, std::vector<char>*) { return no_mpi(); }
ncclResult_t finish_sending() { return ncclSuccess; }
ncclResult_t disconnect(ncclComm_t) { return ncclSuccess; }

#endif

// ---- groups ---------------------------------------------------------------------------------------------------------

// The memory that a part of the group reads or writes on this process.
struct Range {
    const char* begin;
    size_t bytes;
    bool written;
    size_t work;
};
ncclResult_t check_overlaps() {
    std::vector<Range> ranges;
    for (size_t i = 0; i < group.size(); ++i) {
        const Work& w = group[i];
        const bool reads = w.kind == SEND || w.kind == ALL_REDUCE || (w.kind == BROADCAST && w.peer == w.comm->rank);
        if (reads) ranges.push_back({w.from, w.bytes, false, i});
        if (w.kind != SEND) ranges.push_back({w.to, w.bytes, true, i});
    }
    for (const Range& a : ranges)
        for (const Range& b : ranges)
            if (a.written && a.work != b.work && a.begin < b.begin + b.bytes && b.begin < a.begin + a.bytes)
                return refuse(ncclInvalidUsage, "in one group, " + text_of(group[a.work].kind, a.bytes) +
                                                    " writes what is also " + text_of(group[b.work].kind, b.bytes));
    return ncclSuccess;
}

// All sends begin before anything is received, so that no order of calls makes processes wait in a circle.
ncclResult_t run_group() {
    struct Result {
        const Work* work;
        std::vector<char> bytes;
    };
    std::vector<Result> results;
    TRY(check_overlaps());
    for (const Work& work : group) simt::queued_on(work.stream);
    for (const Work& work : group) {
        const bool to_all = work.kind == ALL_REDUCE || (work.kind == BROADCAST && work.peer == work.comm->rank);
        for (int process = 0; process < work.comm->size; ++process)
            if (to_all ? process != work.comm->rank : work.kind == SEND && process == work.peer)
                TRY(begin_sending(work, process));
    }
    for (const Work& work : group) {
        if (work.kind == SEND || (work.kind == BROADCAST && work.peer == work.comm->rank && work.from == work.to))
            continue;
        Result result{&work, {work.from, work.from + (work.from ? work.bytes : 0)}};
        if (work.kind == ALL_REDUCE) {
            std::vector<char> other;
            for (int process = 0; process < work.comm->size; ++process) {
                if (process == work.comm->rank) continue;
                TRY(receive(work, process, &other));
                for (size_t i = 0; i < work.bytes; i += 4) {
                    uint32_t sum, term;
                    memcpy(&sum, &result.bytes[i], 4);
                    memcpy(&term, &other[i], 4);
                    sum += term;
                    memcpy(&result.bytes[i], &sum, 4);
                }
            }
        } else if (work.kind == RECEIVE || work.peer != work.comm->rank) {
            TRY(receive(work, work.peer, &result.bytes));
        }
        results.push_back(std::move(result));
    }
    TRY(finish_sending());
    for (const Result& r : results) simt::receive_later(r.work->to, r.bytes.data(), r.work->bytes, r.work->stream);
    return ncclSuccess;
}

size_t size_of(ncclDataType_t type) {
    switch (type) {
        case ncclInt8:
        case ncclUint8:
            return 1;
        case ncclBfloat16:
            return 2;
        case ncclUint32:
        case ncclFloat32:
            return 4;
        case ncclFloat64:
            return 8;
        default:
            return 0;
    }
}

ncclResult_t run_or_keep(Kind kind, const void* from, void* to, size_t count, ncclDataType_t type, int peer,
                         ncclComm_t comm, cudaStream_t stream) {
    const size_t bytes = count * size_of(type);
    const std::string what = text_of(kind, bytes);
    if (!comm) return refuse(ncclInvalidArgument, what + ": no communicator");
    if (size_of(type) == 0) return refuse(ncclInvalidArgument, what + ": a type that this stand-in does not know");
    if (peer < 0 || peer >= comm->size || (peer == comm->rank && (kind == SEND || kind == RECEIVE)))
        return refuse(ncclInvalidArgument, what + ": process " + std::to_string(peer) + " of " +
                                               std::to_string(comm->size) + ", on " + std::to_string(comm->rank));
    if ((from && !simt::is_device_memory(from, bytes)) || (to && !simt::is_device_memory(to, bytes)))
        return refuse(ncclInvalidArgument, what + ": not device memory");
    if (!simt::is_stream(stream)) return refuse(ncclInvalidArgument, what + ": no such stream");
    if (simt::is_recording(stream))
        return refuse(ncclInvalidUsage, what + ": this stand-in exchanges outside of graphs");
    group.push_back({kind, static_cast<const char*>(from), static_cast<char*>(to), bytes, peer, comm, stream});
    if (depth > 0) return ncclSuccess;
    const ncclResult_t result = run_group();
    group.clear();
    return result;
}

}  // namespace

extern "C" {

ncclResult_t ncclGetVersion(int* version) {
    *version = NCCL_VERSION_CODE;
    return ncclSuccess;
}
const char* ncclGetErrorString(ncclResult_t result) {
    switch (result) {
        case ncclSuccess:
            return "no error";
        case ncclSystemError:
            return "unhandled system error";
        case ncclInvalidArgument:
            return "invalid argument";
        case ncclInvalidUsage:
            return "invalid usage";
        default:
            return "unknown result code";
    }
}
const char* ncclGetLastError(ncclComm_t) { return last_error.c_str(); }
ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t* error) {
    *error = ncclSuccess;
    return ncclSuccess;
}

ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
    for (size_t i = 0; i < sizeof id->internal; ++i) id->internal[i] = static_cast<char>(37 * i);
    return ncclSuccess;
}
ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) {
    if (size < 1 || rank < 0 || rank >= size)
        return refuse(ncclInvalidArgument, "process " + std::to_string(rank) + " of " + std::to_string(size));
    *comm = new ncclComm{};
    (*comm)->rank = rank;
    (*comm)->size = size;
    return size > 1 ? connect(*comm, id) : ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    if (depth > 0) return refuse(ncclInvalidUsage, "the communicator goes in the middle of a group");
    const ncclResult_t result = disconnect(comm);
    delete comm;
    return result;
}

ncclResult_t ncclGroupStart() {
    ++depth;
    return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
    if (depth == 0) return refuse(ncclInvalidUsage, "the end of a group that has not begun");
    if (--depth > 0) return ncclSuccess;
    const ncclResult_t result = run_group();
    group.clear();
    return result;
}

ncclResult_t ncclSend(const void* from, size_t count, ncclDataType_t type, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return run_or_keep(SEND, from, nullptr, count, type, peer, comm, stream);
}
ncclResult_t ncclRecv(void* to, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
    return run_or_keep(RECEIVE, nullptr, to, count, type, peer, comm, stream);
}
ncclResult_t ncclBroadcast(const void* from, void* to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,
                           cudaStream_t stream) {
    return run_or_keep(BROADCAST, from, to, count, type, root, comm, stream);
}
// A group of broadcasts, one of each process's part.
ncclResult_t ncclAllGather(const void* from, void* to, size_t count, ncclDataType_t type, ncclComm_t comm,
                           cudaStream_t stream) {
    if (!comm) return refuse(ncclInvalidArgument, "an all-gather: no communicator");
    TRY(ncclGroupStart());
    for (int process = 0; process < comm->size; ++process) {
        char* part = static_cast<char*>(to) + static_cast<size_t>(process) * count * size_of(type);
        TRY(ncclBroadcast(process == comm->rank ? from : part, part, count, type, process, comm, stream));
    }
    return ncclGroupEnd();
}
ncclResult_t ncclAllReduce(const void* from, void* to, size_t count, ncclDataType_t type, ncclRedOp_t op,
                           ncclComm_t comm, cudaStream_t stream) {
    if (type != ncclUint32 || op != ncclSum)
        return refuse(ncclInvalidArgument, "this stand-in adds 32-bit words and nothing else");
    return run_or_keep(ALL_REDUCE, from, to, count, type, 0, comm, stream);
}

}  // extern "C"
