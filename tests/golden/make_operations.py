"""Makes operations.safetensors: every operation of a graph as PyTorch computes it.

    python make_operations.py          (needs torch, safetensors)

`<case>/0`, `<case>/1`, ... are the operands, `<case>/result` the result.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(7)
R = torch.randn
resize = lambda size: lambda x: F.interpolate(x, size, mode="bilinear", align_corners=True)
CASES = {
    "mat_mul": (torch.matmul, R(1, 2, 3, 4), R(1, 2, 4, 5)),
    "linear": (F.linear, R(3, 4), R(5, 4), R(5)),
    "add": (torch.add, R(2, 3, 4), R(3, 1)),
    "sub": (torch.sub, R(2, 3), R(3)),
    "mul": (torch.mul, R(2, 3), R(1)),
    "div": (torch.div, R(2, 3), R(3).abs() + 1),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b, 1e-6), R(3, 6), R(6), R(6)),
    "batch_norm": (lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b, eps=1e-5), R(1, 3, 2, 2), R(3), R(3), R(3),
                   R(3).abs() + 0.5),
    "softmax": (lambda x: x.softmax(-1), 3 * R(2, 5)),
    "gelu": (F.gelu, 3 * R(4, 5)),
    "relu": (F.relu, R(4, 5)),
    "sigmoid": (torch.sigmoid, 3 * R(4, 5)),
    "tanh": (torch.tanh, R(4, 5)),
    "exp": (torch.exp, R(4, 5)),
    "transpose": (lambda x: x.permute(2, 0, 1), R(2, 3, 4)),
    "reshape": (lambda x: x.reshape(4, 6), R(2, 3, 4)),
    "expand": (lambda x: x.expand(2, 5, 3), R(2, 1, 3)),
    "concat": (lambda *x: torch.cat(x, 1), R(1, 2, 3), R(1, 4, 3)),
    "slice": (lambda x: x[:, 1:3], R(2, 4, 3)),
    "mean": (lambda x: x.mean(1, keepdim=True), R(2, 4, 3)),
    "conv": (lambda x, w: F.conv2d(x, w, padding=1), R(1, 2, 5, 6), R(3, 2, 3, 3)),
    "conv_stride": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), R(1, 2, 5, 6), R(3, 2, 3, 3), R(3)),
    "conv_transpose": (lambda x, w, b: F.conv_transpose2d(x, w, b, 2), R(1, 3, 4, 5), R(3, 2, 2, 2), R(2)),
    "resize_up": (resize((9, 11)), R(1, 2, 4, 5)),
    "resize_down": (resize((3, 2)), R(1, 2, 7, 5)),
    "sqrt": (torch.sqrt, R(4, 5).abs()),
}
tensors = {}
for name, (compute, *operands) in CASES.items():
    tensors.update({f"{name}/{i}": operand.contiguous() for i, operand in enumerate(operands)})
    tensors[f"{name}/result"] = compute(*operands).clone().contiguous()
save_file(tensors, Path(__file__).parent / "operations.safetensors")
