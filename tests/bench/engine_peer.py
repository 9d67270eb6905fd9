"""An engine that a user would pick instead, running Pixio's encoder once for every line on standard input; see turns.py."""

import argparse
import json
import struct
import sys
import time
import tomllib
from pathlib import Path

import numpy as np


def weights(bundle):
    """Tensors of weights.safetensors: a length, a JSON header, little-endian numbers."""
    data = (bundle / "weights.safetensors").read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    kinds = {"F32": "<f4", "F16": "<f2"}
    for name, about in json.loads(data[8:end]).items():
        if name.startswith("encoder."):
            first, last = about["data_offsets"]
            numbers = np.frombuffer(data[end + first:end + last], kinds[about["dtype"]]).astype(np.float32)
            yield name.removeprefix("encoder."), numbers.reshape(about["shape"])


def pytorch(arguments, image):
    """The encoder as its authors write it, with PyTorch's fused attention."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(arguments.threads)
    about = tomllib.loads((arguments.bundle / "model.toml").read_text())["architecture"]
    dim, heads, classes, epsilon = (about[key] for key in ("dim", "heads", "class_tokens", "layer_norm_epsilon"))
    tensors = {name: torch.from_numpy(values.copy()) for name, values in weights(arguments.bundle)}
    if tensors["pos_embed"].shape[1] - classes != image.shape[2] * image.shape[3] // about["patch"] ** 2:
        raise SystemExit(f"this peer does not resize position embeddings: expected {16 * about['grid']} pixels a side")

    def linear(x, name):
        return functional.linear(x, tensors[f"{name}.weight"], tensors[f"{name}.bias"])

    def norm(x, name):
        return functional.layer_norm(x, (dim,), tensors[f"{name}.weight"], tensors[f"{name}.bias"], epsilon)

    def encode(x):
        x = functional.conv2d(x, tensors["patch_embed.proj.weight"], tensors["patch_embed.proj.bias"], stride=about["patch"])
        x = x.flatten(2).transpose(1, 2) + tensors["pos_embed"][:, classes:]
        x = torch.cat([tensors["cls_token"] + tensors["pos_embed"][:, :classes], x], 1)
        count = x.shape[1]
        for block in range(about["blocks"]):
            place = f"blocks.{block}"
            qkv = linear(norm(x, f"{place}.norm1"), f"{place}.attn.qkv")
            query, key, value = qkv.reshape(1, count, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(query, key, value)
            x = x + linear(mixed.transpose(1, 2).reshape(1, count, dim), f"{place}.attn.proj")
            x = x + linear(functional.gelu(linear(norm(x, f"{place}.norm2"), f"{place}.mlp.fc1")), f"{place}.mlp.fc2")
        return norm(x, "norm")

    function = torch.compile(encode) if arguments.compile else encode
    given = torch.from_numpy(image)

    def run():
        with torch.inference_mode():
            return function(given).numpy()

    return run, f"PyTorch {torch.__version__}"


def onnxruntime(arguments, image):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = arguments.threads
    session = ort.InferenceSession(str(arguments.onnx), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"image": image})[0], f"ONNX Runtime {ort.__version__}"


def openvino(arguments, image):
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": arguments.threads}
    if not arguments.own_precision:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = ov.Core().compile_model(str(arguments.onnx), "CPU", settings)
    request = compiled.create_infer_request()
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return lambda: next(iter(request.infer([image]).values())), f"OpenVINO {ov.__version__} {precision}"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=["pytorch", "onnxruntime", "openvino"])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("onnx", type=Path)
    parser.add_argument("input", type=Path, help="float32 [3, height, width]")
    parser.add_argument("output", type=Path, help="where the last result goes, float32")
    parser.add_argument("--size", required=True, metavar="WxH")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--compile", action="store_true", help="by torch.compile")
    parser.add_argument("--own-precision", action="store_true", help="whatever OpenVINO chooses on this processor")
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    image = np.fromfile(arguments.input, np.float32).reshape(1, 3, height, width)
    engines = {"pytorch": pytorch, "onnxruntime": onnxruntime, "openvino": openvino}
    run, about = engines[arguments.engine](arguments, image)
    result = run()
    print("ready", about, flush=True)
    for _ in sys.stdin:
        start = time.perf_counter_ns()
        result = run()
        print(time.perf_counter_ns() - start, flush=True)
    np.asarray(result, np.float32).tofile(arguments.output)


if __name__ == "__main__":
    main()
