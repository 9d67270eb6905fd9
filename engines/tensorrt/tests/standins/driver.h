// A stand-in for libcuda: a GPU that does everything at the last moment that the driver's rules allow. What is put on a stream
// runs when someone waits for that stream, what names no stream (fills, copies of pageable memory) when someone waits for the
// default one, and freeing device memory waits for all. So whoever forgets to wait is found out.
#pragma once

#include "books.h"
#include "preprocess.cuh"

#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <utility>

namespace
{

using Work = std::function<void()>;

struct Stream
{
    bool is_capturing = false;
    bool is_spoilt = false;
    std::vector<Work> recorded;
    std::vector<Work> pending; // asked for, not yet done
};

thread_local void* current = nullptr; // the context that the calling thread is bound to

// Ends the process if a thread that is bound to no context calls: a real driver would refuse, and whoever is dropping leaks.
void bound(char const* call)
{
    if (current == nullptr)
        std::fprintf(stderr, "stand-in: %s by a thread without a context\n", call), std::abort();
}

Stream defaultStream;
std::set<Stream*> streams;                 // the others
std::map<char const*, size_t> allocations; // what the device can reach

struct Graph
{
    std::vector<Work> work;
};

struct Function
{
    std::string name;
};

constexpr int SUCCESS = 0;
constexpr int INVALID_VALUE = 1;
constexpr int OUT_OF_MEMORY = 2;
constexpr int CAPTURE_INVALIDATED = 901;
constexpr int LAUNCH_FAILED = 719;

// Ends the process if the device is made to touch memory that is not there.
char* checked(void const* address, size_t bytes, char const* who)
{
    char* const start = static_cast<char*>(const_cast<void*>(address));
    auto const next = allocations.upper_bound(start);
    if (next != allocations.begin())
    {
        auto const& [first, length] = *std::prev(next);
        if (start >= first && start + bytes <= first + length)
            return start;
    }
    std::fprintf(stderr, "stand-in: %s touches %zu bytes at %p, which is not memory\n", who, bytes, address);
    std::abort();
}


Stream& streamOf(void* stream)
{
    return stream == nullptr ? defaultStream : *static_cast<Stream*>(stream);
}

// Puts work behind what is on a stream, or records it.
void put(void* stream, Work work)
{
    auto& s = streamOf(stream);
    (s.is_capturing ? s.recorded : s.pending).push_back(std::move(work));
}

void finish(Stream& stream)
{
    auto const work = std::exchange(stream.pending, {});
    for (auto const& piece : work)
        piece();
}

void finishAll()
{
    for (auto* stream : streams)
        finish(*stream);
    finish(defaultStream);
}

// A call that may wait for the device: it breaks off what is being captured.
void spoilCaptures()
{
    for (auto* stream : streams)
        stream->is_spoilt = stream->is_spoilt || stream->is_capturing;
}

int allocate(char const* call, void** address, size_t bytes)
{
    spoilCaptures();
    if (fails(call))
        return OUT_OF_MEMORY;
    char* const memory = static_cast<char*>(std::malloc(bytes));
    std::memset(memory, 0xA5, bytes); // as a GPU: not zero
    allocations[memory] = bytes;
    *address = memory;
    born("memory");
    return SUCCESS;
}

int release(void* address)
{
    if (allocations.erase(static_cast<char const*>(address)) != 1)
        std::fprintf(stderr, "stand-in: free of what is not memory\n"), std::abort();
    std::free(address);
    died("memory");
    return SUCCESS;
}

// Every thread of a launch, through the kernel's own source.
template <typename Argument, typename At>
Work launched(void** arguments, unsigned width, unsigned height, At at)
{
    Argument const argument = *static_cast<Argument*>(arguments[0]);
    return [=] {
        for (unsigned y = 0; y < height; ++y)
            for (unsigned x = 0; x < width; ++x)
                at(argument, static_cast<int>(x), static_cast<int>(y));
    };
}

} // namespace

EXPORT int cuInit(unsigned)
{
    return fails("cuInit") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuDeviceGetCount(int* count)
{
    *count = setting("devices", 1);
    return fails("cuDeviceGetCount") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuDeviceGet(int* device, int ordinal)
{
    *device = ordinal;
    return fails("cuDeviceGet") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuDeviceGetName(char* name, int length, int)
{
    std::snprintf(name, static_cast<size_t>(length), "Stand-in GPU");
    return fails("cuDeviceGetName") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int)
{
    // CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, INTEGRATED, COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR
    *value = attribute == 16 ? setting("multiprocessors", 128) : attribute == 18 ? setting("integrated", 0) : attribute == 75 ? 8
        : attribute == 76 ? 9 : 0;
    return fails("cuDeviceGetAttribute") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuDriverGetVersion(int* version)
{
    *version = setting("driver", 12060);
    return fails("cuDriverGetVersion") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRetain(void** context, int)
{
    if (fails("cuDevicePrimaryCtxRetain"))
        return OUT_OF_MEMORY;
    static int primary;
    *context = &primary;
    born("device");
    return SUCCESS;
}
EXPORT int cuDevicePrimaryCtxRelease_v2(int)
{
    died("device");
    return SUCCESS;
}
EXPORT int cuCtxSetCurrent(void* context)
{
    current = context;
    return SUCCESS;
}
EXPORT int cuGetErrorString(int code, char const** text)
{
    *text = code == OUT_OF_MEMORY ? "out of memory"
        : code == CAPTURE_INVALIDATED ? "the capture was invalidated"
        : code == LAUNCH_FAILED ? "the launch failed" : "invalid value";
    return SUCCESS;
}
EXPORT int cuGetErrorName(int code, char const** text)
{
    return cuGetErrorString(code, text);
}
EXPORT int cuStreamCreate(void** stream, unsigned)
{
    bound("cuStreamCreate");
    if (fails("cuStreamCreate"))
        return OUT_OF_MEMORY;
    auto* const made = new Stream;
    streams.insert(made);
    *stream = made;
    born("stream");
    return SUCCESS;
}
EXPORT int cuStreamDestroy_v2(void* stream)
{
    bound("cuStreamDestroy_v2");
    // Returns at once; what is on the stream is done some time later.
    auto* const gone = static_cast<Stream*>(stream);
    for (auto& work : gone->pending)
        defaultStream.pending.push_back(std::move(work));
    streams.erase(gone);
    delete gone;
    died("stream");
    return SUCCESS;
}
EXPORT int cuStreamSynchronize(void* stream)
{
    bound("cuStreamSynchronize");
    auto& s = streamOf(stream);
    bool const bad = fails(stream == nullptr ? "cuStreamSynchronize default" : "cuStreamSynchronize");
    if (stream == nullptr)
        spoilCaptures();
    s.is_spoilt = s.is_spoilt || s.is_capturing;
    if (s.is_capturing)
        return CAPTURE_INVALIDATED;
    finish(s);
    return bad ? LAUNCH_FAILED : SUCCESS;
}
EXPORT int cuStreamBeginCapture_v2(void* stream, int)
{
    bound("cuStreamBeginCapture_v2");
    if (fails("cuStreamBeginCapture"))
        return INVALID_VALUE;
    auto& s = *static_cast<Stream*>(stream);
    s.is_capturing = true;
    s.is_spoilt = false;
    return SUCCESS;
}
EXPORT int cuStreamEndCapture(void* stream, void** graph)
{
    auto& s = *static_cast<Stream*>(stream);
    bool const bad = fails("cuStreamEndCapture") || s.is_spoilt;
    auto work = std::exchange(s.recorded, {});
    s.is_capturing = false;
    *graph = nullptr;
    if (bad)
        return CAPTURE_INVALIDATED;
    *graph = new Graph{std::move(work)};
    born("graph");
    return SUCCESS;
}
EXPORT int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long)
{
    bound("cuGraphInstantiateWithFlags");
    if (fails("cuGraphInstantiate"))
        return OUT_OF_MEMORY;
    *executable = new Graph(*static_cast<Graph*>(graph));
    born("executable graph");
    return SUCCESS;
}
EXPORT int cuGraphDestroy(void* graph)
{
    delete static_cast<Graph*>(graph);
    died("graph");
    return SUCCESS;
}
EXPORT int cuGraphLaunch(void* executable, void* stream)
{
    bound("cuGraphLaunch");
    if (fails("cuGraphLaunch"))
        return LAUNCH_FAILED;
    for (auto const& work : static_cast<Graph*>(executable)->work)
        put(stream, work);
    return SUCCESS;
}
EXPORT int cuGraphExecDestroy(void* executable)
{
    bound("cuGraphExecDestroy");
    delete static_cast<Graph*>(executable);
    died("executable graph");
    return SUCCESS;
}
EXPORT int cuMemAlloc_v2(void** address, size_t bytes)
{
    bound("cuMemAlloc_v2");
    return allocate("cuMemAlloc", address, bytes);
}
EXPORT int cuMemFree_v2(void* address)
{
    bound("cuMemFree_v2");
    finishAll();
    return release(address);
}
EXPORT int cuMemHostAlloc(void** address, size_t bytes, unsigned)
{
    bound("cuMemHostAlloc");
    return allocate("cuMemHostAlloc", address, bytes);
}
EXPORT int cuMemFreeHost(void* address)
{
    bound("cuMemFreeHost");
    return release(address);
}
EXPORT int cuMemHostGetDevicePointer_v2(void** device, void* host, unsigned)
{
    bound("cuMemHostGetDevicePointer_v2");
    *device = host;
    return fails("cuMemHostGetDevicePointer") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuMemsetD8_v2(void* address, unsigned char value, size_t bytes)
{
    bound("cuMemsetD8_v2");
    spoilCaptures();
    if (fails("cuMemsetD8"))
        return INVALID_VALUE;
    put(nullptr, [=] { std::memset(checked(address, bytes, "cuMemsetD8"), value, bytes); });
    return SUCCESS;
}
EXPORT int cuMemcpyHtoD_v2(void* to, void const* from, size_t bytes)
{
    bound("cuMemcpyHtoD_v2");
    spoilCaptures();
    if (fails("cuMemcpyHtoD"))
        return INVALID_VALUE;
    // The driver has read the source when it returns, but perhaps not written yet.
    std::string const staged(static_cast<char const*>(from), bytes);
    put(nullptr, [=] { std::memcpy(checked(to, bytes, "cuMemcpyHtoD"), staged.data(), bytes); });
    return SUCCESS;
}
EXPORT int cuMemcpyHtoDAsync_v2(void* to, void const* from, size_t bytes, void* stream)
{
    bound("cuMemcpyHtoDAsync_v2");
    if (fails("cuMemcpyHtoDAsync"))
        return INVALID_VALUE;
    put(stream, [=] {
        std::memcpy(checked(to, bytes, "cuMemcpyHtoDAsync"), checked(from, bytes, "cuMemcpyHtoDAsync"), bytes);
    });
    return SUCCESS;
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, void const* from, size_t bytes, void* stream)
{
    bound("cuMemcpyDtoHAsync_v2");
    if (fails("cuMemcpyDtoHAsync"))
        return INVALID_VALUE;
    put(stream, [=] { std::memcpy(to, checked(from, bytes, "cuMemcpyDtoHAsync"), bytes); });
    return SUCCESS;
}
EXPORT int cuMemcpyDtoDAsync_v2(void* to, void const* from, size_t bytes, void* stream)
{
    bound("cuMemcpyDtoDAsync_v2");
    if (fails("cuMemcpyDtoDAsync"))
        return INVALID_VALUE;
    put(stream, [=] {
        std::memcpy(checked(to, bytes, "cuMemcpyDtoDAsync"), checked(from, bytes, "cuMemcpyDtoDAsync"), bytes);
    });
    return SUCCESS;
}
EXPORT int cuModuleLoadData(void** module, void const* image)
{
    bound("cuModuleLoadData");
    if (fails("cuModuleLoadData") || std::strncmp(static_cast<char const*>(image), ".version", 8) != 0)
        return INVALID_VALUE;
    *module = new std::string("module");
    born("module");
    return SUCCESS;
}
EXPORT int cuModuleUnload(void* module)
{
    bound("cuModuleUnload");
    delete static_cast<std::string*>(module);
    died("module");
    return SUCCESS;
}
EXPORT int cuModuleGetFunction(void** function, void*, char const* name)
{
    bound("cuModuleGetFunction");
    static std::map<std::string, Function> functions;
    *function = &functions.try_emplace(name, Function{name}).first->second;
    return fails("cuModuleGetFunction") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned, void* stream, void** arguments, void**)
{
    bound("cuLaunchKernel");
    auto const& name = static_cast<Function*>(function)->name;
    if (fails(name) || gz * bz != 1)
        return LAUNCH_FAILED;
    if (name == "pixio_rows")
        put(stream, launched<PixioRows>(arguments, gx * bx, gy * by, pixio_rows_at));
    else if (name == "pixio_columns")
        put(stream, launched<PixioColumns>(arguments, gx * bx, gy * by, pixio_columns_at));
    else
        return LAUNCH_FAILED;
    return SUCCESS;
}
