"""Makes head_gradients.safetensors: loss and gradients of one step of every head but those for depth, as PyTorch computes them.

    python make_head_gradients.py --pixio DIR     (a checkout of facebookresearch/pixio; needs torch, safetensors)

Weights and inputs are those of heads.safetensors and checkpoints/*_segmentation.pth. Of the inputs three samples are made: sample k
takes tap (t + k) % 4 for tap t, and the state and past rolled by k. Targets are formulas below, which tests/golden_head_gradients.rs
repeats. `<head>/loss` are the loss' parts and their sum, `<head>/gradient` every 11th number of the gradient by each weight, weights
in the order of their names, `<head>/norm` its length by each weight.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch.func import functional_call

HERE = Path(__file__).parent
DIM, CLASSES, ROWS, COLUMNS, PATCH, SAMPLES, STRIDE = 8, 8, 2, 3, 16, 3, 11
STATE, ACTIONS, STEPS, WIDTH, HEADS = 5, 4, 6, 8, 2
HEIGHT, FULL = PATCH * ROWS, PATCH * COLUMNS

parser = argparse.ArgumentParser()
parser.add_argument("--pixio", type=Path, required=True)
evaluation = parser.parse_args().pixio / "evaluation"
sys.path[:0] = [str(evaluation), str(evaluation / "common")]

from semseg.models.dpt import DPTHead  # noqa: E402

golden = load_file(HERE / "heads.safetensors")
taps = [golden[f"in/tokens_{tap}"] for tap in range(4)]
tokens = [torch.cat([taps[(tap + k) % 4] for k in range(SAMPLES)]) for tap in range(4)]
state = torch.cat([golden["in/state"].roll(k, 1) for k in range(SAMPLES)])
past = torch.cat([golden["in/past"].roll(k, 2) for k in range(SAMPLES)])
tensors = {}


def weights(head):
    """The head's tensors under our names; those that learn want a gradient."""
    prefix = f"{head}/"
    found = {k[len(prefix):]: v for k, v in golden.items() if k.startswith(prefix) and not k.startswith(prefix + "out/")}
    if not found:
        checkpoint = torch.load(HERE / f"checkpoints/{head}.pth", weights_only=True)
        found = {k.removeprefix("module.head."): v.float() for k, v in checkpoint.items()}
        found = {k: v for k, v in found.items() if "refinenet4.resConfUnit1" not in k}
    return {k: v.requires_grad_(not k.endswith(("running_mean", "running_var"))) for k, v in found.items()}


def keep(head, leaves, parts, total):
    learnt = {name: leaf for name, leaf in sorted(leaves.items()) if leaf.requires_grad}
    gradients = torch.autograd.grad(total, list(learnt.values()), retain_graph=True)
    tensors[f"{head}/loss"] = torch.stack([*parts, total])
    tensors[f"{head}/gradient"] = torch.cat([gradient.flatten()[::STRIDE] for gradient in gradients])
    tensors[f"{head}/norm"] = torch.stack([gradient.norm() for gradient in gradients])


def feature_map(tokens):
    patches = tokens[:, CLASSES:]
    both = torch.cat([patches, tokens[:, :CLASSES].mean(1, keepdim=True).expand_as(patches)], 2)
    return both.permute(0, 2, 1).reshape(-1, 2 * DIM, ROWS, COLUMNS)


def raw(head, leaves, outputs):
    maps = [feature_map(value) for value in tokens]
    if head.startswith("linear"):
        out = functional_call(nn.Sequential(nn.BatchNorm2d(2 * DIM), nn.Conv2d(2 * DIM, outputs, 1)).train(), leaves, maps[3])
    else:
        out = functional_call(DPTHead(outputs, 2 * DIM, 4, [2, 3, 4, 4]), leaves, (maps,))
    return F.interpolate(out, (HEIGHT, FULL), mode="bilinear", align_corners=True)


def cell(k, pixel):
    """A number from 0 to 100 for a pixel of a sample."""
    return (37 * pixel + 11 * k) % 101


def points(head):
    """Rays: mean chord to the true ones. Distances: the official SiLog. Confidence: whether the distance is within a tenth."""
    leaves = weights(head)
    out = raw(head, leaves, 4)
    rays = F.normalize(torch.cat([out[:, :2], torch.ones_like(out[:, :1])], 1), dim=1)
    distance, confidence = 10 * out[:, 2].sigmoid(), out[:, 3].sigmoid()
    pixels = range(HEIGHT * FULL)
    v, u = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(FULL).double(), indexing="ij")
    true_rays, z = [], []
    for k in range(SAMPLES):
        slopes = torch.stack([(u - 23.5 - k) / (40 + 5 * k), (v - 15.5 + k) / (42 + 4 * k), torch.ones_like(u)])
        true_rays.append(slopes)
        depth = torch.tensor([0 if (pixel + k) % 7 == 0 else 1000 + 90 * cell(k, pixel) for pixel in pixels])
        z.append(torch.where(depth > 0, depth / 1000, torch.nan).double().reshape(HEIGHT, FULL))
    slopes = torch.stack(true_rays)
    truth = (torch.stack(z) * slopes.norm(dim=1)).float()
    d = torch.log(truth) - torch.log(distance)
    d = d[(truth >= 0.5) & (truth <= 8.0)]
    far = torch.sqrt((d**2).mean() - 0.5 * d.mean() ** 2)
    across = (rays - F.normalize(slopes, dim=1).float()).norm(dim=1).mean()
    off = ((distance - truth).abs() / truth).detach()
    assert not ((off - 0.1).abs() < 1e-5).any(), "too near to the edge to compare"
    close = (off <= 0.1).float()
    everywhere = F.binary_cross_entropy(confidence, close)
    known = ~truth.isnan()
    known_only = F.binary_cross_entropy(confidence[known], close[known])
    keep(head, leaves, [far, across, known_only], far + 2 * across + 0.3 * known_only)
    if head == "linear_points":
        keep(f"{head}_doubting", leaves, [far, across, everywhere], far + 2 * across + 0.3 * everywhere)


def segmentation(head):
    leaves = weights(head)
    label = torch.tensor([[cell(k, pixel) % 4 for pixel in range(HEIGHT * FULL)] for k in range(SAMPLES)])
    label = torch.where(label < 3, label, 255).reshape(SAMPLES, HEIGHT, FULL)
    keep(head, leaves, [], F.cross_entropy(raw(head, leaves, 3), label, ignore_index=255))


def actions(steps):
    k, step, action = torch.meshgrid(torch.arange(SAMPLES), torch.arange(steps), torch.arange(ACTIONS), indexing="ij")
    return torch.sin(1.0 + k + 2 * step + 3 * action)


class Mlp(nn.Module):
    """CortexBench's policy with FLARE's fusion, on the mean class token."""

    def __init__(self):
        super().__init__()
        sizes = [3 * DIM + STATE, 16, 12, ACTIONS]
        self.norm = nn.BatchNorm1d(sizes[0])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:]))

    def forward(self, embedding):
        x = self.norm(torch.cat([past[:, 1] - past[:, 0], embedding - past[:, 1], embedding, state], 1))
        for layer in self.layers[:-1]:
            x = layer(x).relu()
        return self.layers[-1](x)


def mlp(head):
    leaves = weights(head)
    out = functional_call(Mlp().train(), leaves, tokens[3][:, :CLASSES].mean(1))
    keep(head, leaves, [], F.mse_loss(out[:, None], actions(1)))


def sinusoids():
    table = torch.zeros(ROWS * COLUMNS, WIDTH)
    frequency = 10000.0 ** (-torch.arange(WIDTH // 4) / (WIDTH // 4))
    for patch in range(ROWS * COLUMNS):
        angles = [place * frequency for place in divmod(patch, COLUMNS)]
        table[patch] = torch.cat([torch.stack([a.sin(), a.cos()], 1).flatten() for a in angles])
    return table


def chunk(head, seen, positions):
    """PyTorch's own transformer decoder. The last two actions of sample 1 lie beyond the episode's end."""
    leaves = weights(head)
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 12, dropout=0.0, batch_first=True, norm_first=True)
    decoder = nn.TransformerDecoder(layer, 2, norm=nn.LayerNorm(WIDTH)).train()
    names = {"norm.weight": "norm.weight", "norm.bias": "norm.bias"}
    loaded = {}
    for name in decoder.state_dict():
        if name.startswith("norm."):
            loaded[name] = leaves[names[name]]
            continue
        ours = name.replace("linear1", "mlp.fc1").replace("linear2", "mlp.fc2").replace("out_proj", "proj")
        ours = ours.replace("multihead_attn", "cross_attn")
        if "in_proj_" in ours:
            attention, kind = ours.split(".in_proj_")
            loaded[name] = torch.cat([leaves[f"{attention}.q.{kind}"], leaves[f"{attention}.kv.{kind}"]])
        else:
            loaded[name] = leaves[ours]
    linear = lambda name, x: F.linear(x, leaves[f"{name}.weight"], leaves[f"{name}.bias"])
    positions = leaves["memory_positions"] if positions is None else positions
    memory = torch.cat([linear("memory", seen) + positions, linear("state", state)[:, None]], 1)
    queries = leaves["queries"].expand(SAMPLES, STEPS, WIDTH)
    out = linear("actions", functional_call(decoder, loaded, (queries, memory)))
    counts = torch.ones(SAMPLES, STEPS, ACTIONS)
    counts[1, -2:] = 0
    keep(head, leaves, [], ((out - actions(STEPS)).abs() * counts).sum() / counts.sum())


points("linear_points")
points("dpt_points")
segmentation("linear_segmentation")
segmentation("dpt_segmentation")
mlp("mlp_policy")
chunk("class_policy", tokens[3][:, :CLASSES], None)
chunk("patch_policy", tokens[3][:, CLASSES:], sinusoids())
save_file({k: v.detach().contiguous() for k, v in tensors.items()}, HERE / "head_gradients.safetensors")
