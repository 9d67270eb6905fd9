// A stand-in for TensorRT and its ONNX parser, and with driver.h for libcuda, in one shared library: it records every call, keeps
// books of every object, fails where it is told to, and computes where that is possible on a host (copies, the preprocessing
// kernel, captured graphs). What it cannot show is what only a GPU can.
//
// With PIXIO_ON_GPU the driver is left out, and the real one is used: what the engine does on a GPU can then be run where there
// is one and no TensorRT.
//
// generated.h holds, for each abstract class of the installed headers, a class whose every method ends the process with its
// name: a call that this file does not expect is never silent.

#include "generated.h"

#include "books.h"
#if PIXIO_ON_GPU
#include "real_driver.h"
#else
#include "driver.h"
#endif

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <thread>

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

// TensorRT registers the first logger that it is given for as long as a builder or a runtime lives, warns of a second one, and goes on
// using the first when all that was made with it is gone: whoever gives two is found out.
Speaker registered(void* given)
{
    static Speaker first = nullptr;
    auto* const logger = static_cast<ILogger*>(given);
    if (books.live["builder"] + books.live["runtime"] == 0)
        first = logger;
    if (logger != first)
        std::fprintf(stderr, "stand-in: a second logger beside one that is in use\n"), std::abort();
    return logger;
}

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

// Builds take time, where the environment says so, so that someone can stop them.
void step()
{
    if (char const* const milliseconds = std::getenv("PIXIO_STANDIN_STEP_MS"))
        std::this_thread::sleep_for(std::chrono::milliseconds(std::atoi(milliseconds)));
}

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
            step();
            bool good = monitor->stepComplete("Building Engine", 0);
            monitor->phaseStart("Tactic Selection", "Building Engine", 1);
            if (good)
                step();
            good = good && monitor->stepComplete("Tactic Selection", 0);
            monitor->phaseFinish("Tactic Selection");
            if (good)
                step();
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
        bool enqueueV3(cudaStream_t stream) noexcept override
        {
            if (fails("enqueueV3"))
            {
                mLogger->log(ILogger::Severity::kERROR, "stand-in: enqueueV3 fails");
                return false;
            }
            if (setting("waits", 0) != 0 && cuStreamSynchronize(stream) != 0)
            {
                mLogger->log(ILogger::Severity::kERROR, "stand-in: enqueueV3 may not wait");
                return false;
            }
#if PIXIO_ON_GPU
            return copy(stream);
#else
            return setting("copies", 0) != 0 ? copy(stream) : ramp(stream);
#endif
        }
        static size_t bytesOf(Tensor const& tensor)
        {
            size_t count = sizeof(float);
            for (auto side : tensor.sides)
                count *= static_cast<size_t>(side);
            return count;
        }
        // Every output becomes the inputs' numbers, one input after the other, again and again.
        bool copy(cudaStream_t stream)
        {
            std::vector<Tensor> inputs;
            for (auto const& tensor : mTensors)
                if (tensor.is_input)
                    inputs.push_back(tensor);
            for (auto const& tensor : mTensors)
            {
                size_t done = tensor.is_input ? bytesOf(tensor) : 0;
                for (size_t next = 0; done < bytesOf(tensor); ++next)
                {
                    auto const& input = inputs[next % inputs.size()];
                    size_t const length = std::min(bytesOf(input), bytesOf(tensor) - done);
                    char* const to = static_cast<char*>(mAddresses.at(tensor.name)) + done;
                    if (cuMemcpyDtoDAsync_v2(to, mAddresses.at(input.name), length, stream) != 0)
                    {
                        mLogger->log(ILogger::Severity::kERROR, "stand-in: a copy was refused");
                        return false;
                    }
                    done += length;
                }
            }
            return true;
        }
#if !PIXIO_ON_GPU
        // Every output becomes a ramp around one plus a share of the inputs' mean: reproducible, and of every input.
        bool ramp(cudaStream_t stream)
        {
            auto const tensors = mTensors;
            auto const addresses = mAddresses;
            auto* const scratch = mScratch;
            std::weak_ptr<int> const alive = mAlive;
            put(stream, [=] {
                if (alive.expired())
                    std::fprintf(stderr, "stand-in: a context was destroyed while it runs\n"), std::abort();
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
            size_t const count = bytesOf(tensor) / sizeof(float);
            auto* const values
                = reinterpret_cast<float*>(checked(addresses.at(tensor.name), bytesOf(tensor), tensor.name.c_str()));
            for (size_t i = 0; i < count; ++i)
                visit(values[i], i, count);
        }
#endif
        Speaker mLogger;
        std::vector<Tensor> mTensors;
        std::map<std::string, void*> mAddresses;
        void* mScratch = nullptr;
        std::shared_ptr<int> mAlive = std::make_shared<int>();
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
            if (setting("warns", 0) != 0)
                mLogger->log(ILogger::Severity::kWARNING, "stand-in: the plan is of another GPU");
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
    // Where the headers are of a version that is refused or warned of, the library is one that is not.
    constexpr int version = NV_TENSORRT_VERSION / 100;
    return setting("version", version == 1003 || version == 1004 || version == 1007 ? 100500 : NV_TENSORRT_VERSION);
}

EXPORT void* createInferBuilder_INTERNAL(void* given, int32_t) noexcept
{
    auto* const logger = registered(given);
    return fails("createInferBuilder") ? nothing<IBuilder>(logger, "createInferBuilder")
                                       : static_cast<IBuilder*>(new Builder(logger));
}

EXPORT void* createInferRuntime_INTERNAL(void* given, int32_t) noexcept
{
    auto* const logger = registered(given);
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
