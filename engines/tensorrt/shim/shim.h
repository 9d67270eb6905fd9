// What Rust sees of TensorRT: a table of C functions, one table per flavour. `src/sys.rs` repeats these declarations.
//
// Every handle is opaque and owned by the caller, who destroys children before parents. No exception leaves a function.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

// Entry points of the library that was loaded at run time.
struct PixioEntry
{
    void* create_builder; // createInferBuilder_INTERNAL
    void* create_runtime; // createInferRuntime_INTERNAL
    void* create_parser;  // createNvOnnxParser_INTERNAL
};

// severity: 0 internal error, 1 error, 2 warning, 3 info, 4 verbose.
typedef void (*PixioLog)(void* user, int32_t severity, char const* text);

// What the builder does. kind: 0 phase started (step = number of steps), 1 step complete, 2 phase finished. Returning 0 stops
// the build.
typedef int32_t (*PixioProgress)(void* user, int32_t kind, char const* phase, char const* parent, int32_t step);

struct PixioBuild
{
    char const* onnx_path;
    int32_t const* targets; // compute capabilities such as 89; none means this machine's GPU. TensorRT-RTX only
    int32_t target_count;
    PixioProgress progress;
    void* progress_user;
};

// Where a call failed.
enum PixioStatus : int32_t
{
    PIXIO_OK = 0,
    PIXIO_THREW = 1,         // an exception was caught
    PIXIO_NO_BUILDER = 2,
    PIXIO_NO_NETWORK = 3,
    PIXIO_NO_PARSER = 4,
    PIXIO_NOT_PARSED = 5,
    PIXIO_NO_OUTPUTS = 6,    // an empty file parses without error
    PIXIO_NO_CONFIG = 7,
    PIXIO_BAD_TARGET = 8,
    PIXIO_NOT_BUILT = 9,
};

struct PixioTensor
{
    char const* name; // lives as long as the engine
    int32_t is_input;
    int32_t is_float32;
    int32_t is_linear; // row-major, not vectorised
    int32_t rank;
    int64_t sides[8];
};

struct PixioTable
{
    int32_t (*header_version)();
    void* (*logger_create)(PixioLog log, void* user); // lives until the process ends
    int32_t (*build)(PixioEntry const* entry, void* logger, PixioBuild const* request, void** plan);
    void const* (*plan_data)(void* plan, size_t* size);
    void (*plan_destroy)(void* plan);
    void* (*runtime_create)(PixioEntry const* entry, void* logger);
    void (*runtime_destroy)(void* runtime);
    void* (*engine_create)(void* runtime, void const* plan, size_t size);
    void (*engine_destroy)(void* engine);
    int32_t (*engine_tensor_count)(void* engine);
    int32_t (*engine_tensor)(void* engine, int32_t index, PixioTensor* tensor);
    int64_t (*engine_scratch)(void* engine); // bytes that a context needs
    void* (*context_create)(void* engine);   // without memory of its own
    void (*context_destroy)(void* context);
    int32_t (*context_scratch)(void* context, void* memory, int64_t size);
    int32_t (*context_bind)(void* context, char const* name, void* address);
    int32_t (*context_capturable)(void* context, void* stream);
    int32_t (*context_enqueue)(void* context, void* stream);
};

} // extern "C"
