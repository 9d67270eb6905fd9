"""Makes heads.safetensors and checkpoints/*_segmentation.pth: the heads beside depth as PyTorch and the official code compute
them.

    python make_heads.py --pixio DIR     (a checkout of facebookresearch/pixio; needs torch, safetensors)

`<head>/<weight>` are weights under our names (those of segmentation heads lie in their checkpoints), `in/<port>` the inputs that
all heads share, `<head>/out/<port>` the outputs; of those per pixel every third row and column.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file

HERE = Path(__file__).parent
DIM, CLASSES, ROWS, COLUMNS, PATCH = 8, 8, 2, 3, 16
STATE, ACTIONS, STEPS, WIDTH, HEADS = 5, 4, 6, 8, 2

parser = argparse.ArgumentParser()
parser.add_argument("--pixio", type=Path, required=True)
evaluation = parser.parse_args().pixio / "evaluation"
sys.path[:0] = [str(evaluation), str(evaluation / "common")]

from semseg.models.dpt import DPTHead  # noqa: E402

torch.manual_seed(20261125)


def randomise(module):
    for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
        if tensor.is_floating_point():
            noise = torch.rand(tensor.shape) * 2 - 1
            fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
            value = 1 + 0.5 * noise if name.endswith("running_var") else noise * (3 / fan_in) ** 0.5
            # Numbers that half precision holds exactly, so that small checkpoints hold the same model.
            tensor.data.copy_(value.half().float())
    return module.eval()


tokens = [torch.randn(1, CLASSES + ROWS * COLUMNS, DIM) for _ in range(4)]
state = torch.randn(1, STATE)
past = torch.randn(1, 2, DIM)
inputs = {f"tokens_{tap}": value for tap, value in enumerate(tokens)} | {"state": state, "past": past}
tensors = {f"in/{name}": value for name, value in inputs.items()}


def keep(head, weights, outputs):
    tensors.update({f"{head}/{name}": value for name, value in weights.items() if value.is_floating_point()})
    for name, value in outputs.items():
        value = value[..., ::3, ::3] if value.shape[-1] == PATCH * COLUMNS else value
        tensors[f"{head}/out/{name}"] = value


def feature_map(tokens):
    patches = tokens[:, CLASSES:]
    both = torch.cat([patches, tokens[:, :CLASSES].mean(1, keepdim=True).expand_as(patches)], 2)
    return both.permute(0, 2, 1).reshape(1, 2 * DIM, ROWS, COLUMNS)


def full(raw):
    return F.interpolate(raw, (PATCH * ROWS, PATCH * COLUMNS), mode="bilinear", align_corners=True)


def linear(outputs):
    return randomise(nn.Sequential(nn.BatchNorm2d(2 * DIM), nn.Conv2d(2 * DIM, outputs, 1)))


def dpt(outputs):
    return randomise(DPTHead(outputs, 2 * DIM, 4, [2, 3, 4, 4]))


def official(head):
    """The official module's state without the unit that its forward pass never reaches."""
    return {k: v for k, v in head.state_dict().items() if "refinenet4.resConfUnit1" not in k}


def points(raw):
    rays = F.normalize(torch.cat([raw[:, :2], torch.ones_like(raw[:, :1])], 1), dim=1)
    return {"rays": rays, "distance": 10 * raw[:, 2].sigmoid(), "confidence": raw[:, 3].sigmoid()}


class Mlp(nn.Module):
    """CortexBench's policy with FLARE's fusion, on the mean class token."""

    def __init__(self):
        super().__init__()
        sizes = [3 * DIM + STATE, 16, 12, ACTIONS]
        self.norm = nn.BatchNorm1d(sizes[0])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, embedding):
        x = torch.cat([past[:, 1] - past[:, 0], embedding - past[:, 1], embedding, state], 1)
        x = self.norm(x)
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def chunk(memory_tokens, positions):
    """PyTorch's own transformer decoder with normalisation first; returns weights under our names, and the actions."""
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 12, dropout=0.0, batch_first=True, norm_first=True)
    decoder = randomise(nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(WIDTH)))
    memory, proprioception = randomise(nn.Linear(DIM, WIDTH)), randomise(nn.Linear(STATE, WIDTH))
    actions, queries = randomise(nn.Linear(WIDTH, ACTIONS)), torch.randn(STEPS, WIDTH)
    seen = torch.cat([memory(memory_tokens) + positions, proprioception(state)[:, None]], 1)
    out = actions(decoder(queries[None], seen))
    weights = {"queries": queries}
    for name, module in [("memory", memory), ("state", proprioception), ("actions", actions)]:
        weights |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    for name, value in decoder.state_dict().items():
        if name.startswith("norm."):
            weights[name] = value
            continue
        _, index, rest = name.split(".", 2)
        rest = rest.replace("linear1", "mlp.fc1").replace("linear2", "mlp.fc2")
        rest = rest.replace("multihead_attn", "cross_attn").replace("out_proj", "proj")
        if "in_proj_" in rest:
            attention, kind = rest.split(".in_proj_")
            weights[f"layers.{index}.{attention}.q.{kind}"] = value[:WIDTH]
            weights[f"layers.{index}.{attention}.kv.{kind}"] = value[WIDTH:]
        else:
            weights[f"layers.{index}.{rest}"] = value
    return weights, {"actions": out}


def sinusoids():
    table = torch.zeros(ROWS * COLUMNS, WIDTH)
    frequency = 10000.0 ** (-torch.arange(WIDTH // 4) / (WIDTH // 4))
    for patch in range(ROWS * COLUMNS):
        angles = [place * frequency for place in divmod(patch, COLUMNS)]
        table[patch] = torch.cat([torch.stack([a.sin(), a.cos()], 1).flatten() for a in angles])
    return table


with torch.no_grad():
    maps = [feature_map(value) for value in tokens]
    head = linear(4)
    keep("linear_points", head.state_dict(), points(full(head(maps[3]))))
    head = dpt(4)
    keep("dpt_points", official(head), points(full(head(maps))))
    for name, head, raw in [("linear_segmentation", linear(3), lambda head: head(maps[3])),
                            ("dpt_segmentation", dpt(3), lambda head: head(maps))]:
        keep(name, {}, {"logits": full(raw(head))})
        half = {f"module.head.{k}": v.half() for k, v in head.state_dict().items() if v.is_floating_point()}
        torch.save(half, HERE / f"checkpoints/{name}.pth")
    mlp = randomise(Mlp())
    embedding = tokens[3][:, :CLASSES].mean(1)
    keep("mlp_policy", mlp.state_dict(), {"actions": mlp(embedding)[:, None], "embedding": embedding})
    positions = torch.randn(CLASSES, WIDTH)
    weights, out = chunk(tokens[3][:, :CLASSES], positions)
    keep("class_policy", weights | {"memory_positions": positions}, out)
    keep("patch_policy", *chunk(tokens[3][:, CLASSES:], sinusoids()))

save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / "heads.safetensors")
