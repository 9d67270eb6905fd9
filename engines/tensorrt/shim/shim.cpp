// The only file that knows TensorRT's headers. Compiled once per flavour; see shim.h for the contract and build.rs for how.
//
// TensorRT's classes are abstract and its inline functions call into vtables, so nothing is linked: the library's three C
// entry points come in a PixioEntry. Two flavours live in one program because build.rs renames the namespaces of each.

#include "shim.h"

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <memory>

// TensorRT numbers its headers 10.x and 11.x, TensorRT-RTX 1.x.
#if PIXIO_RTX && (NV_TENSORRT_MAJOR != 1 || NV_TENSORRT_MINOR < 5)
#error "expected headers of TensorRT-RTX 1.5 or later"
#elif !PIXIO_RTX && (NV_TENSORRT_MAJOR < 10 || NV_TENSORRT_MAJOR > 11)
#error "expected headers of TensorRT 10 or 11"
#endif

#define PIXIO_AT_LEAST(major, minor)                                                                                   \
    (!PIXIO_RTX && (NV_TENSORRT_MAJOR > (major) || (NV_TENSORRT_MAJOR == (major) && NV_TENSORRT_MINOR >= (minor))))

namespace
{

using Create = void* (*) (void* logger, int32_t version);
using CreateParser = void* (*) (void* network, void* logger, int version);

// Without a driver, TensorRT 11.4 returns the pointer 0x228 where it means null. Nothing lies in the first 64 kB.
template <typename T>
T* checked(void* pointer)
{
    return reinterpret_cast<uintptr_t>(pointer) < 65536 ? nullptr : static_cast<T*>(pointer);
}

template <typename T>
std::unique_ptr<T> owned(void* pointer)
{
    return std::unique_ptr<T>(checked<T>(pointer));
}

// Runs a call; an exception becomes `otherwise`, because none may cross into Rust.
template <typename F, typename R>
R guarded(R otherwise, F&& call) noexcept
{
    try
    {
        return call();
    }
    catch (...)
    {
        return otherwise;
    }
}

class Logger final : public nvinfer1::ILogger
{
public:
    Logger(PixioLog log, void* user)
        : mLog(log)
        , mUser(user)
    {
    }

    void log(Severity severity, nvinfer1::AsciiChar const* text) noexcept override
    {
        mLog(mUser, static_cast<int32_t>(severity), text);
    }

private:
    PixioLog mLog;
    void* mUser;
};

class Monitor final : public nvinfer1::IProgressMonitor
{
public:
    explicit Monitor(PixioBuild const& request)
        : mReport(request.progress)
        , mUser(request.progress_user)
    {
    }

    void phaseStart(char const* phase, char const* parent, int32_t steps) noexcept override
    {
        mReport(mUser, 0, phase, parent, steps);
    }

    bool stepComplete(char const* phase, int32_t step) noexcept override
    {
        return mReport(mUser, 1, phase, nullptr, step) != 0;
    }

    void phaseFinish(char const* phase) noexcept override
    {
        mReport(mUser, 2, phase, nullptr, 0);
    }

private:
    PixioProgress mReport;
    void* mUser;
};

// Types come from the ONNX file alone. TensorRT 11 and RTX know only such networks; 10 has to be told.
nvinfer1::NetworkDefinitionCreationFlags networkFlags()
{
#if !PIXIO_RTX && NV_TENSORRT_MAJOR == 10
    return 1U << static_cast<uint32_t>(nvinfer1::NetworkDefinitionCreationFlag::kSTRONGLY_TYPED);
#else
    return 0;
#endif
}

bool setTargets(nvinfer1::IBuilderConfig& config, PixioBuild const& request)
{
#if PIXIO_RTX
    // Memory comes from the caller, so that a run can be captured into a CUDA graph.
    config.setFlag(nvinfer1::BuilderFlag::kREQUIRE_USER_ALLOCATION);
    if (request.target_count == 0)
    {
        return true;
    }
    bool good = config.setNbComputeCapabilities(request.target_count);
    for (int32_t i = 0; good && i < request.target_count; ++i)
    {
        good = config.setComputeCapability(static_cast<nvinfer1::ComputeCapability>(request.targets[i]), i);
    }
    return good;
#else
    (void) config;
    return request.target_count == 0;
#endif
}

int32_t buildPlan(PixioEntry const& entry, nvinfer1::ILogger& logger, PixioBuild const& request, void** plan)
{
    auto createBuilder = reinterpret_cast<Create>(entry.create_builder);
    auto createParser = reinterpret_cast<CreateParser>(entry.create_parser);
    // Declared before what refers to them: destroyed after it.
    Monitor monitor(request);
    auto builder = owned<nvinfer1::IBuilder>(createBuilder(&logger, NV_TENSORRT_VERSION));
    if (!builder)
        return PIXIO_NO_BUILDER;
    auto network = owned<nvinfer1::INetworkDefinition>(builder->createNetworkV2(networkFlags()));
    if (!network)
        return PIXIO_NO_NETWORK;
    auto parser = owned<nvonnxparser::IParser>(createParser(network.get(), &logger, NV_ONNX_PARSER_VERSION));
    if (!parser)
        return PIXIO_NO_PARSER;
    if (!parser->parseFromFile(request.onnx_path, static_cast<int32_t>(nvinfer1::ILogger::Severity::kWARNING)))
        return PIXIO_NOT_PARSED;
    if (network->getNbOutputs() == 0)
        return PIXIO_NO_OUTPUTS;
    auto config = owned<nvinfer1::IBuilderConfig>(builder->createBuilderConfig());
    if (!config)
        return PIXIO_NO_CONFIG;
    // fp32 means fp32: TF32 keeps 10 bits of a factor.
    config->clearFlag(nvinfer1::BuilderFlag::kTF32);
    config->setProfilingVerbosity(nvinfer1::ProfilingVerbosity::kDETAILED);
    config->setProgressMonitor(&monitor);
    if (!setTargets(*config, request))
        return PIXIO_BAD_TARGET;
    auto built = owned<nvinfer1::IHostMemory>(builder->buildSerializedNetwork(*network, *config));
    if (!built || built->size() == 0)
        return PIXIO_NOT_BUILT;
    *plan = built.release();
    return PIXIO_OK;
}

int32_t build(PixioEntry const* entry, void* logger, PixioBuild const* request, void** plan)
{
    return guarded(static_cast<int32_t>(PIXIO_THREW),
        [&] { return buildPlan(*entry, *static_cast<Logger*>(logger), *request, plan); });
}

nvinfer1::IHostMemory& asPlan(void* plan)
{
    return *static_cast<nvinfer1::IHostMemory*>(plan);
}

nvinfer1::ICudaEngine& asEngine(void* engine)
{
    return *static_cast<nvinfer1::ICudaEngine*>(engine);
}

nvinfer1::IExecutionContext& asContext(void* context)
{
    return *static_cast<nvinfer1::IExecutionContext*>(context);
}

template <typename T>
void destroy(void* object)
{
    guarded(0, [&] { delete static_cast<T*>(object); return 0; });
}

void* runtimeCreate(PixioEntry const* entry, void* logger)
{
    return guarded(static_cast<void*>(nullptr), [&]() -> void* {
        auto create = reinterpret_cast<Create>(entry->create_runtime);
        return checked<nvinfer1::IRuntime>(create(static_cast<Logger*>(logger), NV_TENSORRT_VERSION));
    });
}

void* engineCreate(void* runtime, void const* plan, size_t size)
{
    return guarded(static_cast<void*>(nullptr), [&]() -> void* {
        return checked<nvinfer1::ICudaEngine>(
            static_cast<nvinfer1::IRuntime*>(runtime)->deserializeCudaEngine(plan, size));
    });
}

int32_t engineTensor(void* handle, int32_t index, PixioTensor* tensor)
{
    return guarded(0, [&] {
        auto& engine = asEngine(handle);
        char const* name = engine.getIOTensorName(index);
        if (name == nullptr)
            return 0;
        auto const sides = engine.getTensorShape(name);
        tensor->name = name;
        tensor->is_input = engine.getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        tensor->is_float32 = engine.getTensorDataType(name) == nvinfer1::DataType::kFLOAT;
        tensor->is_linear = engine.getTensorFormat(name) == nvinfer1::TensorFormat::kLINEAR;
        tensor->rank = sides.nbDims;
        for (int32_t i = 0; i < 8; ++i)
            tensor->sides[i] = i < sides.nbDims ? static_cast<int64_t>(sides.d[i]) : 0;
        return 1;
    });
}

int64_t engineScratch(void* engine)
{
    return guarded(int64_t{-1}, [&] {
#if PIXIO_RTX || PIXIO_AT_LEAST(10, 1)
        return static_cast<int64_t>(asEngine(engine).getDeviceMemorySizeV2());
#else
        return static_cast<int64_t>(asEngine(engine).getDeviceMemorySize());
#endif
    });
}

void* contextCreate(void* engine)
{
    return guarded(static_cast<void*>(nullptr), [&]() -> void* {
        return checked<nvinfer1::IExecutionContext>(asEngine(engine).createExecutionContext(
            nvinfer1::ExecutionContextAllocationStrategy::kUSER_MANAGED));
    });
}

int32_t contextScratch(void* context, void* memory, int64_t size)
{
    return guarded(0, [&] {
#if PIXIO_RTX || PIXIO_AT_LEAST(10, 1)
        asContext(context).setDeviceMemoryV2(memory, size);
#else
        (void) size;
        asContext(context).setDeviceMemory(memory);
#endif
        return 1;
    });
}

int32_t contextCapturable(void* context, void* stream)
{
    return guarded(0, [&] {
#if PIXIO_RTX
        return asContext(context).isStreamCapturable(static_cast<cudaStream_t>(stream)) ? 1 : 0;
#else
        (void) context;
        (void) stream;
        return 1; // TensorRT has no such question: the capture itself tells
#endif
    });
}

PixioTable const table{
    [] { return static_cast<int32_t>(NV_TENSORRT_VERSION); },
    [](PixioLog log, void* user) {
        return guarded(static_cast<void*>(nullptr), [&]() -> void* { return new Logger(log, user); });
    },
    build,
    [](void* plan, size_t* size) -> void const* {
        *size = asPlan(plan).size();
        return asPlan(plan).data();
    },
    destroy<nvinfer1::IHostMemory>,
    runtimeCreate,
    destroy<nvinfer1::IRuntime>,
    engineCreate,
    destroy<nvinfer1::ICudaEngine>,
    [](void* engine) { return guarded(-1, [&] { return asEngine(engine).getNbIOTensors(); }); },
    engineTensor,
    engineScratch,
    contextCreate,
    destroy<nvinfer1::IExecutionContext>,
    contextScratch,
    [](void* context, char const* name, void* address) {
        return guarded(0, [&] { return asContext(context).setTensorAddress(name, address) ? 1 : 0; });
    },
    contextCapturable,
    [](void* context, void* stream) {
        return guarded(0, [&] { return asContext(context).enqueueV3(static_cast<cudaStream_t>(stream)) ? 1 : 0; });
    },
};

} // namespace

extern "C" PixioTable const* PIXIO_TABLE()
{
    return &table;
}
