"""Makes training.safetensors: loss and gradients of one step, as PyTorch and the official code compute them.

    python make_training.py --pixio DIR     (a checkout of facebookresearch/pixio; needs torch, safetensors)

`op/<case>/<i>` are operands of an operation, `op/<case>/out` the gradient by its result, `op/<case>/gradient/<i>` that by an
operand. `<network>/weights/<name>`, `<network>/gradient/<name>`, `<network>/loss` and the inputs belong to a network: `linear`
and `dpt` (the official depth heads under the official SiLog loss), `pretraining` (the official pre-training model).
"""

import argparse
import importlib
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

parser = argparse.ArgumentParser()
parser.add_argument("--pixio", type=Path, required=True)
PIXIO = parser.parse_args().pixio
torch.manual_seed(20261125)
R = torch.randn
tensors = {}


def operations():
    resize = lambda size: lambda x: F.interpolate(x, size, mode="bilinear", align_corners=True)
    cases = {
        "mat_mul": (torch.matmul, R(1, 2, 3, 4), R(1, 2, 4, 5)),
        "linear": (F.linear, R(3, 4), R(5, 4), R(5)),
        "add": (torch.add, R(2, 3, 4), R(3, 1)),
        "sub": (torch.sub, R(2, 3), R(3)),
        "mul": (torch.mul, R(2, 3), R(1)),
        "div": (torch.div, R(2, 3), R(3).abs() + 1),
        "layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b, 1e-6), R(3, 6), R(6), R(6)),
        "batch_norm": (lambda x, w, b, m, v: F.batch_norm(x, m.detach().clone(), v.detach().clone(), w, b, True, 0.1, 1e-5),
                       R(3, 3, 2, 2), R(3), R(3), R(3), R(3).abs() + 0.5),
        "softmax": (lambda x: x.softmax(-1), 3 * R(2, 5)),
        "gelu": (F.gelu, 3 * R(4, 5)),
        "relu": (F.relu, R(4, 5)),
        "sigmoid": (torch.sigmoid, 3 * R(4, 5)),
        "tanh": (torch.tanh, R(4, 5)),
        "exp": (torch.exp, R(4, 5)),
        "sqrt": (torch.sqrt, R(4, 5).abs() + 0.1),
        "transpose": (lambda x: x.permute(2, 0, 1), R(2, 3, 4)),
        "transpose_runs": (lambda x: x.permute(1, 0, 2), R(2, 3, 4)),
        "expand": (lambda x: x.expand(2, 5, 3), R(2, 1, 3)),
        "concat": (lambda *x: torch.cat(x, 1), R(1, 2, 3), R(1, 4, 3)),
        "slice": (lambda x: x[:, 1:3], R(2, 4, 3)),
        "mean": (lambda x: x.mean(1, keepdim=True), R(2, 4, 3)),
        "conv": (lambda x, w: F.conv2d(x, w, padding=1), R(2, 2, 5, 6), R(3, 2, 3, 3)),
        "conv_stride": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), R(1, 2, 5, 6), R(3, 2, 3, 3), R(3)),
        "conv_transpose": (lambda x, w, b: F.conv_transpose2d(x, w, b, 2), R(1, 3, 4, 5), R(3, 2, 2, 2), R(2)),
        "resize_up": (resize((9, 11)), R(1, 2, 4, 5)),
        "resize_down": (resize((3, 2)), R(1, 2, 7, 5)),
    }
    for name, (compute, *operands) in cases.items():
        operands = [operand.clone().requires_grad_() for operand in operands]
        result = compute(*operands)
        out = R(result.shape)
        result.backward(out)
        tensors[f"op/{name}/out"] = out
        for i, operand in enumerate(operands):
            tensors[f"op/{name}/{i}"] = operand.detach()
            if operand.grad is not None:
                tensors[f"op/{name}/gradient/{i}"] = operand.grad


def randomise(module):
    for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
        if tensor.is_floating_point():
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
            norm = "norm" in name and name.endswith("weight") or name.endswith("running_var")
            noise = torch.rand(tensor.shape) * 2 - 1
            tensor.data.copy_(noise * (3 / fan_in) ** 0.5 if tensor.dim() in (2, 4) else norm + 0.3 * noise)


def keep(network, loss, named):
    loss.backward()
    tensors[f"{network}/loss"] = loss.detach().reshape(1)
    for name, parameter in named:
        if parameter.grad is not None:
            tensors[f"{network}/weights/{name}"] = parameter.detach()
            tensors[f"{network}/gradient/{name}"] = parameter.grad


def pretraining():
    sys.path.insert(0, str(PIXIO / "pretraining"))
    pixio = importlib.import_module("models_pixio")
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    model = pixio.PixioViT(img_size=16, patch_size=4, embed_dim=8, depth=2, num_heads=2, decoder_embed_dim=6,
                           decoder_depth=2, decoder_num_heads=3, n_cls_tokens=8, mask_grid=2, norm_layer=norm)
    randomise(model)
    images = R(3, 3, 16, 16)
    masks = {}
    masking = model.random_masking

    def remember(*args):
        kept, masks["mask"], restore = masking(*args)
        return kept, masks["mask"], restore

    model.random_masking = remember
    loss = model(images, 0.75)
    name = lambda n: n if n.startswith(("decoder", "mask")) else f"encoder.{n}"
    keep("pretraining", loss, [(name(n), p) for n, p in model.named_parameters()])
    tensors["pretraining/images"], tensors["pretraining/masked"] = images, masks["mask"]
    sys.path.pop(0)
    for module in [m for m in sys.modules if m == "layers" or m.startswith("layers.")]:
        del sys.modules[module]


def heads():
    sys.path[:0] = [str(PIXIO / "evaluation"), str(PIXIO / "evaluation/common")]
    pixio = importlib.import_module("common.pixio")
    dpt = importlib.import_module("monodepth.models.dpt").DPTDepth
    linear = importlib.import_module("monodepth.models.linear").LinearDepth
    silog = importlib.import_module("monodepth.util.misc").SiLogLoss()
    norm = partial(torch.nn.LayerNorm, eps=1e-6)

    def tiny():
        model = pixio.PixioViT(img_size=32, patch_size=16, embed_dim=8, depth=4, num_heads=2, n_cls_tokens=8,
                               norm_layer=norm)
        model.embed_dim = 8
        return model

    pixio.__dict__["tiny"] = tiny
    taps = R(4, 3, 8 + 6, 8)
    target = 0.5 + 9 * torch.rand(3, 32, 48)
    target[torch.rand(target.shape) < 0.2] = float("nan")
    valid = ~target.isnan()
    tensors["depth/tokens"], tensors["depth/target"] = taps, target

    class Frozen(torch.nn.Module):
        """Stands in for the frozen encoder: the same tokens whatever the image."""

        def __init__(self, encoder):
            super().__init__()
            self.patch_embed, self.embed_dim = encoder.patch_embed, encoder.embed_dim
            self.n_blocks = 4

        def forward(self, image):
            return [{"cls_tokens_norm": tap[:, :8], "patch_tokens_norm": tap[:, 8:]} for tap in taps]

    for network, model in (("linear", linear("tiny", None)), ("dpt", dpt("tiny", None, 4, [2, 3, 4, 4]))):
        model.encoder = Frozen(model.encoder)
        randomise(model)
        model.train()
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                tensors[f"{network}/weights/{name}"] = buffer.clone()
        depth = 10 * model(torch.zeros(3, 3, 32, 48))
        keep(network, silog(depth, target, valid), model.named_parameters())
        for name, buffer in model.named_buffers():
            if buffer.is_floating_point():
                tensors[f"{network}/after/{name}"] = buffer.clone()


operations()
pretraining()
heads()
save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, Path(__file__).parent / "training.safetensors")
