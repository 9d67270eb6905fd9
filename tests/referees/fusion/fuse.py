"""Fuses what `film.py` kept with Open3D's TSDF and holds the mesh against the scene.

Prints a table; exit code 1 when a mesh of true depth is further from the scene than a voxel, or leaves out what was seen, or when a
fault that is made on purpose goes unnoticed.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import open3d

import scene

parser = argparse.ArgumentParser()
parser.add_argument("--true", type=Path, required=True)
parser.add_argument("--errors", type=Path, required=True)
arguments = parser.parse_args()
FARTHEST = 4.5
failed = False


def fused(depths, ks, poses, voxel):
    volume = open3d.pipelines.integration.ScalableTSDFVolume(
        voxel_length=voxel, sdf_trunc=3.0 * voxel, color_type=open3d.pipelines.integration.TSDFVolumeColorType.NoColor)
    height, width = depths[0].shape
    grey = open3d.geometry.Image(np.zeros((height, width, 3), np.uint8))
    for depth, k, pose in zip(depths, ks, poses):
        depth = open3d.geometry.Image(np.nan_to_num(depth).astype(np.float32))
        rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
            grey, depth, depth_scale=1.0, depth_trunc=FARTHEST, convert_rgb_to_intensity=False)
        camera = open3d.camera.PinholeCameraIntrinsic(width, height, k[0, 0], k[1, 1], k[0, 2], k[1, 2])
        volume.integrate(rgbd, camera, np.linalg.inv(pose))
    return volume.extract_triangle_mesh()


def seen(every=2, pixels=97):
    """Points of the scene that the camera saw."""
    points = []
    for frame in range(0, scene.FRAMES, every):
        pose = scene.world_from_camera(frame)
        space = (scene.rays() * scene.depth(pose)[..., None]).reshape(-1, 3)[::pixels]
        points.append(space @ pose[:3, :3].T + pose[:3, 3])
    return np.concatenate(points)


SEEN = seen()
assert scene.distance(SEEN).max() < 1e-9, "the scene's depth and distances agree"


def judge(label, depths, ks, poses, voxel):
    """Quantiles of the distance of the mesh from the scene, and the share of what was seen that has a mesh within a voxel."""
    mesh = fused(depths, ks, poses, voxel)
    away = scene.distance(np.asarray(mesh.vertices))
    there = open3d.t.geometry.RaycastingScene()
    there.add_triangles(open3d.t.geometry.TriangleMesh.from_legacy(mesh))
    gaps = there.compute_distance(open3d.core.Tensor(SEEN.astype(np.float32))).numpy()
    [median, most], complete = np.quantile(away, [0.5, 0.95]), np.mean(gaps < voxel)
    print(f"{label:44} {1e3 * voxel:5.0f} {len(away):8} {1e3 * median:8.1f} {1e3 * most:8.1f} {100.0 * complete:8.1f}", flush=True)
    return median < voxel / 4.0 and most < voxel and complete > 0.95


true, errors = (np.load(path) for path in (arguments.true, arguments.errors))
depths, ks, poses = true["depth"], true["k"], true["pose"]
assert len(depths) == scene.FRAMES and np.isfinite(depths).all()
print(f"{'depth of the node':44} {'voxel':>5} {'vertices':>8} {'median':>8} {'95 %':>8} {'seen %':>8}   (mm from the scene)")
for voxel in (0.04, 0.02, 0.01):
    failed |= not judge("true", depths, ks, poses, voxel)
judge("3 % of scale a frame, 1 % of noise a pixel", errors["depth"], errors["k"], errors["pose"], 0.02)

print("faults, which must fail:")
wider = ks * np.array([[1.05, 1.0, 1.0], [1.0, 1.05, 1.0], [1.0, 1.0, 1.0]])
slant = np.linalg.norm(scene.rays(), axis=-1)
to_body = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
failed |= judge("focal length 5 % too long", depths, wider, poses, 0.02)
failed |= judge("range along the ray for depth", depths * slant, ks, poses, 0.02)
failed |= judge("poses of the frame before", depths, ks, np.roll(poses, 1, axis=0), 0.02)
failed |= judge("body frame for the optical frame", depths, ks, poses @ to_body, 0.02)
failed |= judge("1 % and 2 cm too far", depths * 1.01 + 0.02, ks, poses, 0.02)
sys.exit(failed)
