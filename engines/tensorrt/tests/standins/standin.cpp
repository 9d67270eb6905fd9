// A stand-in for libcuda, TensorRT and its ONNX parser in one shared library: it records every call, keeps books of every
// object, fails where it is told to, and computes where that is possible on a host (copies, the preprocessing kernel, captured
// graphs). What it cannot show is what only a GPU can.
//
// generated.h holds, for each abstract class of the installed headers, a class whose every method ends the process with its
// name: a call that this file does not expect is never silent.

#include "generated.h"

#include "preprocess.cuh"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace
{

// ---- the books -----------------------------------------------------------------------------------------------------------

struct Books
{
    std::vector<std::string> calls;
    std::map<std::string, int> seen;     // calls by name since the last reset
    std::map<std::string, int> failures; // which call of a name fails, counted from 1
    std::map<std::string, int> live;     // objects by kind
    std::map<std::string, int> settings;
    std::map<char*, size_t> memory; // allocations that can be reached by the device
};

Books books;

// Writes a call down; whether it is to fail.
bool fails(std::string const& name)
{
    books.calls.push_back(name);
    auto const found = books.failures.find(name);
    return ++books.seen[name] == (found == books.failures.end() ? 0 : found->second);
}

void born(char const* kind)
{
    ++books.live[kind];
}

void died(char const* kind)
{
    books.calls.push_back(std::string("~") + kind);
    if (--books.live[kind] < 0)
        std::fprintf(stderr, "stand-in: %s destroyed twice\n", kind), std::abort();
}

int setting(char const* name, int otherwise)
{
    auto const found = books.settings.find(name);
    return found == books.settings.end() ? otherwise : found->second;
}

// Ends the process if the device is made to touch memory that is not there.
char* checked(void const* address, size_t bytes, char const* who)
{
    char* const start = static_cast<char*>(const_cast<void*>(address));
    auto const next = books.memory.upper_bound(start);
    if (next != books.memory.begin())
    {
        auto const& [first, length] = *std::prev(next);
        if (start >= first && start + bytes <= first + length)
            return start;
    }
    std::fprintf(stderr, "stand-in: %s touches %zu bytes at %p, which is not memory\n", who, bytes, address);
    std::abort();
}

} // namespace

EXPORT void standin_reset()
{
    books.calls.clear();
    books.seen.clear();
    books.failures.clear();
    books.settings.clear();
}

EXPORT void standin_fail(char const* call, int nth)
{
    books.failures[call] = nth;
    books.seen.erase(call);
}

EXPORT void standin_set(char const* name, int value)
{
    books.settings[name] = value;
}

// Calls since the last reset, one a line; valid until the next call.
EXPORT char const* standin_calls()
{
    static std::string text;
    text.clear();
    for (auto const& call : books.calls)
        text += call + "\n";
    return text.c_str();
}

// Objects that live, one kind a line.
EXPORT char const* standin_live()
{
    static std::string text;
    text.clear();
    for (auto const& [kind, count] : books.live)
        if (count != 0)
            text += kind + " " + std::to_string(count) + "\n";
    return text.c_str();
}

// ---- libcuda -------------------------------------------------------------------------------------------------------------

namespace
{

using Work = std::function<void()>;

struct Stream
{
    bool is_capturing = false;
    bool is_spoilt = false;
    std::vector<Work> recorded;
};

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

// Runs work now, or records it.
void put(void* stream, Work work)
{
    auto& s = *static_cast<Stream*>(stream);
    if (s.is_capturing)
        s.recorded.push_back(std::move(work));
    else
        work();
}

int allocate(char const* call, void** address, size_t bytes)
{
    if (fails(call))
        return OUT_OF_MEMORY;
    char* const memory = static_cast<char*>(std::malloc(bytes));
    std::memset(memory, 0xA5, bytes); // as a GPU: not zero
    books.memory[memory] = bytes;
    *address = memory;
    born("memory");
    return SUCCESS;
}

int release(void* address)
{
    if (books.memory.erase(static_cast<char*>(address)) != 1)
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
    return SUCCESS;
}
EXPORT int cuDeviceGetName(char* name, int length, int)
{
    std::snprintf(name, static_cast<size_t>(length), "Stand-in GPU");
    return SUCCESS;
}
EXPORT int cuDeviceGetAttribute(int* value, int attribute, int)
{
    // CU_DEVICE_ATTRIBUTE_INTEGRATED, COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR
    *value = attribute == 18 ? setting("integrated", 0) : attribute == 75 ? 8 : attribute == 76 ? 9 : 0;
    return SUCCESS;
}
EXPORT int cuDriverGetVersion(int* version)
{
    *version = 12060;
    return SUCCESS;
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
EXPORT int cuCtxSetCurrent(void*)
{
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
    if (fails("cuStreamCreate"))
        return OUT_OF_MEMORY;
    *stream = new Stream;
    born("stream");
    return SUCCESS;
}
EXPORT int cuStreamDestroy_v2(void* stream)
{
    delete static_cast<Stream*>(stream);
    died("stream");
    return SUCCESS;
}
EXPORT int cuStreamSynchronize(void* stream)
{
    auto& s = *static_cast<Stream*>(stream);
    s.is_spoilt = s.is_spoilt || s.is_capturing;
    return fails("cuStreamSynchronize") ? LAUNCH_FAILED : s.is_capturing ? CAPTURE_INVALIDATED : SUCCESS;
}
EXPORT int cuStreamBeginCapture_v2(void* stream, int)
{
    if (fails("cuStreamBeginCapture"))
        return INVALID_VALUE;
    auto& s = *static_cast<Stream*>(stream);
    s = Stream{true, false, {}};
    return SUCCESS;
}
EXPORT int cuStreamEndCapture(void* stream, void** graph)
{
    auto& s = *static_cast<Stream*>(stream);
    bool const bad = fails("cuStreamEndCapture") || s.is_spoilt;
    auto work = std::move(s.recorded);
    s = Stream{};
    *graph = nullptr;
    if (bad)
        return CAPTURE_INVALIDATED;
    *graph = new Graph{std::move(work)};
    born("graph");
    return SUCCESS;
}
EXPORT int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long)
{
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
EXPORT int cuGraphLaunch(void* executable, void*)
{
    if (fails("cuGraphLaunch"))
        return LAUNCH_FAILED;
    for (auto const& work : static_cast<Graph*>(executable)->work)
        work();
    return SUCCESS;
}
EXPORT int cuGraphExecDestroy(void* executable)
{
    delete static_cast<Graph*>(executable);
    died("executable graph");
    return SUCCESS;
}
EXPORT int cuMemAlloc_v2(void** address, size_t bytes)
{
    return allocate("cuMemAlloc", address, bytes);
}
EXPORT int cuMemFree_v2(void* address)
{
    return release(address);
}
EXPORT int cuMemHostAlloc(void** address, size_t bytes, unsigned)
{
    return allocate("cuMemHostAlloc", address, bytes);
}
EXPORT int cuMemFreeHost(void* address)
{
    return release(address);
}
EXPORT int cuMemHostGetDevicePointer_v2(void** device, void* host, unsigned)
{
    *device = host;
    return fails("cuMemHostGetDevicePointer") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuMemsetD8_v2(void* address, unsigned char value, size_t bytes)
{
    std::memset(checked(address, bytes, "cuMemsetD8"), value, bytes);
    return SUCCESS;
}
EXPORT int cuMemcpyHtoD_v2(void* to, void const* from, size_t bytes)
{
    if (fails("cuMemcpyHtoD"))
        return INVALID_VALUE;
    std::memcpy(checked(to, bytes, "cuMemcpyHtoD"), from, bytes);
    return SUCCESS;
}
EXPORT int cuMemcpyHtoDAsync_v2(void* to, void const* from, size_t bytes, void* stream)
{
    if (fails("cuMemcpyHtoDAsync"))
        return INVALID_VALUE;
    put(stream, [=] {
        std::memcpy(checked(to, bytes, "cuMemcpyHtoDAsync"), checked(from, bytes, "cuMemcpyHtoDAsync"), bytes);
    });
    return SUCCESS;
}
EXPORT int cuMemcpyDtoHAsync_v2(void* to, void const* from, size_t bytes, void* stream)
{
    if (fails("cuMemcpyDtoHAsync"))
        return INVALID_VALUE;
    put(stream, [=] { std::memcpy(to, checked(from, bytes, "cuMemcpyDtoHAsync"), bytes); });
    return SUCCESS;
}
EXPORT int cuModuleLoadData(void** module, void const* image)
{
    if (fails("cuModuleLoadData") || std::strncmp(static_cast<char const*>(image), ".version", 8) != 0)
        return INVALID_VALUE;
    *module = new std::string("module");
    born("module");
    return SUCCESS;
}
EXPORT int cuModuleUnload(void* module)
{
    delete static_cast<std::string*>(module);
    died("module");
    return SUCCESS;
}
EXPORT int cuModuleGetFunction(void** function, void*, char const* name)
{
    static std::map<std::string, Function> functions;
    *function = &functions.try_emplace(name, Function{name}).first->second;
    return fails("cuModuleGetFunction") ? INVALID_VALUE : SUCCESS;
}
EXPORT int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
    unsigned, void* stream, void** arguments, void**)
{
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

// ---- TensorRT ------------------------------------------------------------------------------------------------------------

namespace
{

using namespace nvinfer1;

struct Tensor
{
    std::string name;
    bool is_input;
    std::vector<int64_t> sides;
};

// A reader of protobuf, enough for the inputs and outputs of an ONNX file.
struct Bytes
{
    char const* at;
    char const* end;

    uint64_t varint()
    {
        uint64_t value = 0;
        for (int shift = 0; at < end && shift < 64; shift += 7)
        {
            auto const byte = static_cast<unsigned char>(*at++);
            value |= static_cast<uint64_t>(byte & 127) << shift;
            if (byte < 128)
                break;
        }
        return value;
    }

    // Calls `field(number, bytes, varint)` for each field; false if the bytes are no message.
    template <typename F>
    bool each(F&& field)
    {
        while (at < end)
        {
            uint64_t const tag = varint();
            uint64_t value = 0;
            Bytes part{at, at};
            switch (tag & 7)
            {
            case 0: value = varint(); break;
            case 1: at += 8; break;
            case 5: at += 4; break;
            case 2:
                value = varint();
                if (value > static_cast<uint64_t>(end - at))
                    return false;
                part = Bytes{at, at + value};
                at += value;
                break;
            default: return false;
            }
            if (at > end || tag >> 3 == 0)
                return false;
            field(tag >> 3, part, value);
        }
        return true;
    }
};

Tensor tensorOf(Bytes info, bool isInput)
{
    Tensor tensor{"", isInput, {}};
    info.each([&](uint64_t number, Bytes part, uint64_t) {
        if (number == 1)
            tensor.name.assign(part.at, part.end);
        if (number == 2)
            part.each([&](uint64_t, Bytes type, uint64_t) {
                type.each([&](uint64_t n, Bytes shape, uint64_t) {
                    if (n == 2)
                        shape.each([&](uint64_t, Bytes dim, uint64_t) {
                            dim.each([&](uint64_t, Bytes, uint64_t v) { tensor.sides.push_back(static_cast<int64_t>(v)); });
                        });
                });
            });
    });
    return tensor;
}

// A plan of the stand-in is text: a line for each tensor.
std::string planOf(std::vector<Tensor> const& tensors)
{
    std::ostringstream text;
    text << "stand-in plan\n";
    for (auto const& tensor : tensors)
    {
        text << (tensor.is_input ? "in " : "out ") << tensor.name;
        for (auto side : tensor.sides)
            text << ' ' << side;
        text << '\n';
    }
    return text.str();
}

std::vector<Tensor> tensorsOf(std::string const& plan)
{
    std::vector<Tensor> tensors;
    std::istringstream lines(plan.substr(plan.find('\n') + 1));
    for (std::string line; std::getline(lines, line);)
    {
        std::istringstream words(line);
        std::string way;
        Tensor tensor;
        words >> way >> tensor.name;
        tensor.is_input = way == "in";
        for (int64_t side; words >> side;)
            tensor.sides.push_back(side);
        tensors.push_back(tensor);
    }
    return tensors;
}

// Objects speak through the logger that they were made with, as TensorRT's do: one that was destroyed before them is found out.
using Speaker = ILogger*;

// What a creating call gives that is to fail: null, or the small number that TensorRT 11.4 gives without a driver.
template <typename T>
T* nothing(Speaker logger, char const* call)
{
    logger->log(ILogger::Severity::kERROR, (std::string("stand-in: ") + call + " fails").c_str());
    return setting("small_pointers", 0) != 0 ? reinterpret_cast<T*>(uintptr_t{0x228}) : nullptr;
}

class HostMemory final : public IHostMemory
{
public:
    explicit HostMemory(std::string text)
        : mBytes{std::move(text)}
    {
        mImpl = &mBytes;
        born("plan");
    }
    ~HostMemory() noexcept override
    {
        died("plan");
    }

private:
    struct Impl final : apiv::VHostMemoryStub
    {
        explicit Impl(std::string text)
            : mText(std::move(text))
        {
        }
        void* data() const noexcept override
        {
            return const_cast<char*>(mText.data());
        }
        std::size_t size() const noexcept override
        {
            return mText.size();
        }
        std::string mText;
    } mBytes;
};

class Network final : public INetworkDefinition
{
public:
    Network()
    {
        mImpl = &mDefinition;
        born("network");
    }
    ~Network() noexcept override
    {
        died("network");
    }
    std::vector<Tensor> tensors;

private:
    struct Impl final : apiv::VNetworkDefinitionStub
    {
        explicit Impl(Network& network)
            : mNetwork(network)
        {
        }
        int32_t getNbOutputs() const noexcept override
        {
            int32_t count = 0;
            for (auto const& tensor : mNetwork.tensors)
                count += !tensor.is_input;
            return count;
        }
        Network& mNetwork;
    } mDefinition{*this};
};

class Config final : public IBuilderConfig
{
public:
    Config()
    {
        mImpl = &mSettings;
        born("config");
    }
    ~Config() noexcept override
    {
        died("config");
    }
    IProgressMonitor* monitor() const
    {
        return mSettings.mMonitor;
    }

private:
    struct Impl final : apiv::VBuilderConfigStub
    {
        void clearFlag(BuilderFlag flag) noexcept override
        {
            fails(flag == BuilderFlag::kTF32 ? "clearFlag TF32" : "clearFlag");
        }
        void setFlag(BuilderFlag) noexcept override
        {
            fails("setFlag");
        }
        void setProfilingVerbosity(ProfilingVerbosity) noexcept override {}
        void setProgressMonitor(IProgressMonitor* monitor) noexcept override
        {
            mMonitor = monitor;
        }
#if PIXIO_RTX
        bool setNbComputeCapabilities(int32_t count) noexcept override
        {
            return !fails("setNbComputeCapabilities " + std::to_string(count));
        }
        bool setComputeCapability(ComputeCapability capability, int32_t index) noexcept override
        {
            return !fails("setComputeCapability " + std::to_string(static_cast<int>(capability)) + " " + std::to_string(index));
        }
#endif
        IProgressMonitor* mMonitor = nullptr;
    } mSettings;
};

class Builder final : public IBuilder
{
public:
    explicit Builder(Speaker logger)
        : mBuilder(logger)
    {
        mImpl = &mBuilder;
        born("builder");
    }
    ~Builder() noexcept override
    {
        died("builder");
    }

private:
    struct Impl final : apiv::VBuilderStub
    {
        explicit Impl(Speaker logger)
            : mLogger(logger)
        {
        }
        INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags flags) noexcept override
        {
            return fails("createNetwork " + std::to_string(flags)) ? nothing<INetworkDefinition>(mLogger, "createNetwork") : new Network;
        }
        IBuilderConfig* createBuilderConfig() noexcept override
        {
            return fails("createBuilderConfig") ? nothing<IBuilderConfig>(mLogger, "createBuilderConfig") : new Config;
        }
        IHostMemory* buildSerializedNetwork(INetworkDefinition& network, IBuilderConfig& config) noexcept override
        {
            bool const bad = fails("buildSerializedNetwork");
            auto* const monitor = static_cast<Config&>(config).monitor();
            monitor->phaseStart("Building Engine", nullptr, 2);
            bool good = monitor->stepComplete("Building Engine", 0);
            monitor->phaseStart("Tactic Selection", "Building Engine", 1);
            good = good && monitor->stepComplete("Tactic Selection", 0);
            monitor->phaseFinish("Tactic Selection");
            good = good && monitor->stepComplete("Building Engine", 1);
            monitor->phaseFinish("Building Engine");
            if (bad)
                return nothing<IHostMemory>(mLogger, "buildSerializedNetwork");
            mLogger->log(ILogger::Severity::kWARNING, "stand-in: nothing was optimised");
            mLogger->log(ILogger::Severity::kVERBOSE,
                PIXIO_RTX ? "Layers:\nName: all_myl0_0, LayerType: standin, Inputs: [], Constants: [], Outputs: []"
                          : "Engine Layer Information:\nLayer(standin): all");
            return good ? new HostMemory(planOf(static_cast<Network&>(network).tensors)) : nullptr;
        }
        Speaker mLogger;
    } mBuilder;
};

class Context final : public IExecutionContext
{
public:
    Context(Speaker logger, std::vector<Tensor> tensors)
        : mState(logger, std::move(tensors))
    {
        mImpl = &mState;
        born("context");
    }
    ~Context() noexcept override
    {
        died("context");
    }

private:
    struct Impl final : apiv::VExecutionContextStub
    {
        Impl(Speaker logger, std::vector<Tensor> tensors)
            : mLogger(logger)
            , mTensors(std::move(tensors))
        {
        }
        void setDeviceMemoryV2(void* memory, int64_t size) noexcept override
        {
            fails("setDeviceMemory " + std::to_string(size));
            mScratch = memory;
        }
        bool setTensorAddress(char const* name, void* data) noexcept override
        {
            mAddresses[name] = data;
            return !fails(std::string("setTensorAddress ") + name);
        }
#if PIXIO_RTX
        bool isStreamCapturable(cudaStream_t) const noexcept override
        {
            return !fails("isStreamCapturable");
        }
#endif
        // Every output becomes a ramp around one plus a share of the inputs' mean: reproducible, and of every input.
        bool enqueueV3(cudaStream_t stream) noexcept override
        {
            if (fails("enqueueV3"))
            {
                mLogger->log(ILogger::Severity::kERROR, "stand-in: enqueueV3 fails");
                return false;
            }
            auto const tensors = mTensors;
            auto const addresses = mAddresses;
            auto* const scratch = mScratch;
            put(stream, [=] {
                checked(scratch, 64, "scratch");
                double mean = 0;
                for (auto const& tensor : tensors)
                    if (tensor.is_input)
                        each(tensor, addresses, [&](float& value, size_t, size_t count) { mean += value / static_cast<double>(count); });
                for (auto const& tensor : tensors)
                    if (!tensor.is_input)
                        each(tensor, addresses, [&](float& value, size_t index, size_t) {
                            value = static_cast<float>(1 + static_cast<double>(index % 97) / 97 + 0.1 * mean);
                        });
            });
            return true;
        }
        template <typename F>
        static void each(Tensor const& tensor, std::map<std::string, void*> const& addresses, F&& visit)
        {
            size_t count = 1;
            for (auto side : tensor.sides)
                count *= static_cast<size_t>(side);
            auto* const values
                = reinterpret_cast<float*>(checked(addresses.at(tensor.name), count * sizeof(float), tensor.name.c_str()));
            for (size_t i = 0; i < count; ++i)
                visit(values[i], i, count);
        }
        Speaker mLogger;
        std::vector<Tensor> mTensors;
        std::map<std::string, void*> mAddresses;
        void* mScratch = nullptr;
    } mState;
};

class Engine final : public ICudaEngine
{
public:
    Engine(Speaker logger, std::vector<Tensor> tensors)
        : mPlan(logger, std::move(tensors))
    {
        mImpl = &mPlan;
        born("engine");
    }
    ~Engine() noexcept override
    {
        died("engine");
    }

private:
    struct Impl final : apiv::VCudaEngineStub
    {
        Impl(Speaker logger, std::vector<Tensor> tensors)
            : mLogger(logger)
            , mTensors(std::move(tensors))
        {
        }
        Tensor const& named(char const* name) const
        {
            for (auto const& tensor : mTensors)
                if (tensor.name == name)
                    return tensor;
            std::abort();
        }
        int32_t getNbIOTensors() const noexcept override
        {
            return static_cast<int32_t>(mTensors.size());
        }
        char const* getIOTensorName(int32_t index) const noexcept override
        {
            return mTensors[static_cast<size_t>(index)].name.c_str();
        }
        Dims getTensorShape(char const* name) const noexcept override
        {
            Dims dims{};
            for (auto side : named(name).sides)
                dims.d[dims.nbDims++] = side;
            return dims;
        }
        TensorIOMode getTensorIOMode(char const* name) const noexcept override
        {
            return named(name).is_input ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
        }
        DataType getTensorDataType(char const*) const noexcept override
        {
            return setting("half_ports", 0) != 0 ? DataType::kHALF : DataType::kFLOAT;
        }
        TensorFormat getTensorFormat(char const*) const noexcept override
        {
            return TensorFormat::kLINEAR;
        }
        int64_t getDeviceMemorySizeV2() const noexcept override
        {
            return setting("scratch", 256);
        }
        IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy strategy) noexcept override
        {
            if (strategy != ExecutionContextAllocationStrategy::kUSER_MANAGED)
                std::abort();
            return fails("createExecutionContext") ? nothing<IExecutionContext>(mLogger, "createExecutionContext")
                                                   : new Context(mLogger, mTensors);
        }
        Speaker mLogger;
        std::vector<Tensor> mTensors;
    } mPlan;
};

class Runtime final : public IRuntime
{
public:
    explicit Runtime(Speaker logger)
        : mRuntime(logger)
    {
        mImpl = &mRuntime;
        born("runtime");
    }
    ~Runtime() noexcept override
    {
        died("runtime");
    }

private:
    struct Impl final : apiv::VRuntimeStub
    {
        explicit Impl(Speaker logger)
            : mLogger(logger)
        {
        }
        ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override
        {
            std::string const plan(static_cast<char const*>(blob), size);
            bool const good = plan.rfind("stand-in plan\n", 0) == 0;
            return fails("deserializeCudaEngine") || !good ? nothing<ICudaEngine>(mLogger, "deserializeCudaEngine")
                                                          : new Engine(mLogger, tensorsOf(plan));
        }
        Speaker mLogger;
    } mRuntime;
};

class Parser final : public nvonnxparser::IParserStub
{
public:
    Parser(Speaker logger, Network& network)
        : mLogger(logger)
        , mNetwork(network)
    {
        born("parser");
    }
    ~Parser() noexcept override
    {
        died("parser");
    }
    bool parseFromFile(char const* path, int) noexcept override
    {
        if (fails("parseFromFile"))
        {
            mLogger->log(ILogger::Severity::kERROR, "stand-in: parseFromFile fails");
            return false;
        }
        std::ifstream file(path, std::ios::binary);
        std::string const text((std::istreambuf_iterator<char>(file)), {});
        bool good = true;
        bool const whole = Bytes{text.data(), text.data() + text.size()}.each([&](uint64_t number, Bytes graph, uint64_t) {
            if (number == 7)
                good = graph.each([&](uint64_t n, Bytes part, uint64_t) {
                    if (n == 11 || n == 12)
                        mNetwork.tensors.push_back(tensorOf(part, n == 11));
                });
        });
        if (!good || !whole)
            mLogger->log(ILogger::Severity::kERROR, "stand-in: not an ONNX file");
        return good && whole;
    }

private:
    Speaker mLogger;
    Network& mNetwork;
};

} // namespace

EXPORT int32_t getInferLibVersion() noexcept
{
    return setting("version", NV_TENSORRT_VERSION);
}

EXPORT void* createInferBuilder_INTERNAL(void* given, int32_t) noexcept
{
    auto* const logger = static_cast<ILogger*>(given);
    return fails("createInferBuilder") ? nothing<IBuilder>(logger, "createInferBuilder")
                                       : static_cast<IBuilder*>(new Builder(logger));
}

EXPORT void* createInferRuntime_INTERNAL(void* given, int32_t) noexcept
{
    auto* const logger = static_cast<ILogger*>(given);
    return fails("createInferRuntime") ? nothing<IRuntime>(logger, "createInferRuntime")
                                       : static_cast<IRuntime*>(new Runtime(logger));
}

EXPORT void* createNvOnnxParser_INTERNAL(void* network, void* given, int) noexcept
{
    auto* const logger = static_cast<ILogger*>(given);
    if (fails("createNvOnnxParser"))
        return nothing<nvonnxparser::IParser>(logger, "createNvOnnxParser");
    auto& definition = static_cast<Network&>(*static_cast<INetworkDefinition*>(network));
    return static_cast<nvonnxparser::IParser*>(new Parser(logger, definition));
}
