"""Makes preprocess.safetensors: photographs as torchvision's transforms bring them to a network's input.

    python make_preprocess.py          (needs torch, torchvision, pillow, safetensors)

The official evaluation resizes PIL images bicubically (antialiased), then normalises. Here the image is resized to cover the
network's input and cropped in the middle; of large results every fourth row and column is kept.
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms
from torchvision.transforms.functional import crop

HERE = Path(__file__).parent
NETWORKS = [(48, 32), (64, 64), (112, 80), (304, 208), (256, 336)]
normalise = transforms.Compose([transforms.ToTensor(),
                                transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])
tensors = {}
for name in ("coffee_small.png", "rocket_small.png"):
    photo = Image.open(HERE.parent / "photos" / name).convert("RGB")
    for width, height in NETWORKS:
        scale = max(width / photo.width, height / photo.height)
        size = [max(height, round(photo.height * scale)), max(width, round(photo.width * scale))]
        resized = transforms.Resize(size, interpolation=transforms.InterpolationMode.BICUBIC)(photo)
        image = crop(resized, (size[0] - height) // 2, (size[1] - width) // 2, height, width)
        keep = 1 if width <= 64 else 4
        tensors[f"{name}/{width}x{height}/levels"] = torch.from_numpy(np.array(image)[::keep, ::keep].copy())
        if width == 48:
            tensors[f"{name}/{width}x{height}/normalised"] = normalise(image)
save_file(tensors, HERE / "preprocess.safetensors")
