"""Makes checkpoints/ (packed by checkpoints.sh) and networks.safetensors: tiny Pixio models in every on-disk form, and what the official code and
transformers compute with them.

    python make_networks.py --pixio DIR     (a checkout of facebookresearch/pixio; needs torch, transformers, safetensors)

One random model (8 wide, 4 blocks, 2 attention heads, position grid 4x4) is saved in all forms, so the files stay small and
must all give the same numbers, up to the rounding of half precision.
"""

import argparse
import shutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import PixioConfig, PixioModel

HERE = Path(__file__).parent
OUT = HERE / "checkpoints"
DIM, BLOCKS, HEADS, GRID = 8, 4, 2, 4
MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
# The native grid; wider and lower; narrower and higher.
SIZES = [(64, 64), (96, 48), (48, 80)]

parser = argparse.ArgumentParser()
parser.add_argument("--pixio", type=Path, required=True)
PIXIO = parser.parse_args().pixio
sys.path[:0] = [str(PIXIO / "evaluation"), str(PIXIO / "evaluation/common")]

import common.pixio as pixio  # noqa: E402
from monodepth.models.dpt import DPTDepth  # noqa: E402
from monodepth.models.linear import LinearDepth  # noqa: E402


def randomise(module):
    """Weights that matter: the default initialisation leaves biases, norms and statistics at 0 and 1."""
    for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
        if not tensor.is_floating_point():
            continue
        noise = torch.rand(tensor.shape) * 2 - 1
        fan_in = max(1, tensor[0].numel()) if tensor.dim() > 1 else 1
        if name.endswith("running_var"):
            value = 1 + 0.5 * noise
        elif tensor.dim() == 1:
            value = (1 if "norm" in name and name.endswith("weight") else 0) + 0.3 * noise
        else:
            value = noise * (3 / fan_in) ** 0.5 if tensor.dim() != 3 else 0.5 * noise
        # Numbers that bfloat16 holds exactly, so that every file holds the same model.
        tensor.data.copy_(value.bfloat16().float())


def encoder():
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    model = pixio.PixioViT(img_size=16 * GRID, patch_size=16, embed_dim=DIM, depth=BLOCKS, num_heads=HEADS,
                           mlp_ratio=4, n_cls_tokens=8, norm_layer=norm)
    model.embed_dim = DIM
    return model


torch.manual_seed(20261123)
official = encoder().eval()
randomise(official)
pixio.__dict__["tiny"] = lambda: encoder()
linear, dpt = LinearDepth("tiny", None).eval(), DPTDepth("tiny", None, 8, [4, 6, 8, 8]).eval()
for head in (linear, dpt):
    randomise(head)
    head.encoder.load_state_dict(official.state_dict())

hugging = PixioModel(PixioConfig(hidden_size=DIM, num_hidden_layers=BLOCKS, num_attention_heads=HEADS,
                                 image_size=16 * GRID)).eval()
state = {}
for name, value in official.state_dict().items():
    name = name.replace("cls_token", "embeddings.cls_token").replace("pos_embed", "embeddings.position_embeddings")
    name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection").replace("blocks.", "layers.")
    name = "layernorm" + name[4:] if name.startswith("norm.") else name
    name = name.replace("norm1", "layernorm_before").replace("norm2", "layernorm_after")
    name = name.replace("attn.proj", "attention.o_proj")
    if "attn.qkv" in name:
        for part, tensor in zip("qkv", value.chunk(3)):
            state[name.replace("attn.qkv", f"attention.{part}_proj")] = tensor
    else:
        state[name] = value
hugging.load_state_dict(state)

shutil.rmtree(OUT, ignore_errors=True)
OUT.mkdir()
cast = lambda state, dtype: {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
for dtype, name in [(torch.float32, "fp32"), (torch.float16, "fp16"), (torch.bfloat16, "bf16")]:
    torch.save(cast(official.state_dict(), dtype), OUT / f"official_{name}.pth")
    copy = PixioModel(hugging.config).to(dtype)
    copy.load_state_dict(cast(hugging.state_dict(), dtype))
    copy.save_pretrained(OUT / f"hugging_face_{name}")
hugging.save_pretrained(OUT / "hugging_face_sharded", max_shard_size="20KB")
memory = OUT / "hugging_face_memory_names"
memory.mkdir()
save_file({k: v.contiguous() for k, v in hugging.state_dict().items()}, memory / "model.safetensors")
shutil.copy(OUT / "hugging_face_fp32/config.json", memory)
# What the pre-training script saves, and what DistributedDataParallel makes of names.
torch.save({"model": official.state_dict(), "epoch": 3, "args": argparse.Namespace(lr=1e-4)}, OUT / "trainer.pth")
torch.save({f"module.{k}": v for k, v in linear.state_dict().items()}, OUT / "linear_ddp.pth")
torch.save(dpt.state_dict(), OUT / "dpt.pth")

tensors = {}
with torch.no_grad():
    for width, height in SIZES:
        key = f"{width}x{height}"
        rgb = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
        image = ((torch.from_numpy(rgb).float() / 255 - MEAN) / STD).permute(2, 0, 1)[None]
        tensors[f"{key}/image"] = torch.from_numpy(rgb)
        for block, taps in enumerate(official(image)):
            for form, ours in (("", "_norm"), ("_raw", "")):
                tokens = torch.cat([taps[f"cls_tokens{ours}"], taps[f"patch_tokens{ours}"]], dim=1)
                tensors[f"{key}/tokens_{block}{form}"] = tokens
        tensors[f"{key}/linear"] = 10 * linear(image)
        tensors[f"{key}/dpt"] = 80 * dpt(image)
        tensors[f"{key}/hugging_face"] = hugging(image).last_hidden_state
save_file({k: v.contiguous() for k, v in tensors.items()}, HERE / "networks.safetensors")
