"""Fuses what `film.py` kept with Open3D's TSDF and holds the meshes against the scenes.

Prints a table and draws the meshes; exit code 1 when a mesh of true depth is further from the room than a voxel, or leaves out what
was seen, or when a fault that is made on purpose goes unnoticed. Predicted depth is reported.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import open3d

import scene

parser = argparse.ArgumentParser()
parser.add_argument("--room", type=Path, help="with true depth")
parser.add_argument("--errors", type=Path, help="the room with a rangefinder's errors")
parser.add_argument("--cell", type=Path, help="the simulated robot's cell with true depth")
parser.add_argument("--predicted", type=Path, help="the cell with predicted depth")
parser.add_argument("--pictures", type=Path, required=True, help="folder for pictures of the meshes")
arguments = parser.parse_args()

FARTHEST = 4.5
FLOAT, CPU = open3d.core.float32, open3d.core.Device("CPU:0")
# A camera_info's pixel centres are at integers. Open3D's kernel takes the pixel of a projected voxel by cutting off the fraction
# (VoxelBlockGridImpl.h), so that its centres are at halves. Without this the mesh of true depth is off by 3 mm at any voxel.
FROM_INTEGER_CENTRES = np.array([[0.0, 0.0, 0.5], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]])


def tensor(array):
    return open3d.core.Tensor(np.ascontiguousarray(array))


def fused(depths, ks, poses, voxel):
    grid = open3d.t.geometry.VoxelBlockGrid(("tsdf", "weight"), (FLOAT, FLOAT), ((1,), (1,)), voxel, 16, 20_000, CPU)
    for depth, k, pose in zip(np.nan_to_num(depths).astype(np.float32), ks, poses):
        # Open3D takes a frame in which nothing is near enough for a mistake.
        if not ((depth > 0.0) & (depth < FARTHEST)).any():
            continue
        image = open3d.t.geometry.Image(tensor(depth))
        camera = tensor(k + FROM_INTEGER_CENTRES), tensor(np.linalg.inv(pose))
        blocks = grid.compute_unique_block_coordinates(image, *camera, 1.0, FARTHEST, 3.0)
        grid.integrate(blocks, image, *camera, 1.0, FARTHEST, 3.0)
    return grid.extract_triangle_mesh(0.0) if grid.hashmap().size() else None


class Surface:
    def __init__(self, mesh):
        self.rays = open3d.t.geometry.RaycastingScene()
        self.rays.add_triangles(mesh)

    def distance(self, points):
        """Metres from points to the surface."""
        return self.rays.compute_distance(tensor(points.astype(np.float32))).numpy()

    def draw(self, name, k, pose, size):
        """A picture from a camera; grey is how far the surface turns away from it."""
        rays = self.rays.create_rays_pinhole(tensor(k + FROM_INTEGER_CENTRES), tensor(np.linalg.inv(pose)), *size)
        seen = self.rays.cast_rays(rays)
        directions = rays.numpy()[..., 3:] / np.linalg.norm(rays.numpy()[..., 3:], axis=-1, keepdims=True)
        shade = np.abs((seen["primitive_normals"].numpy() * directions).sum(-1))
        grey = np.where(np.isfinite(seen["t_hit"].numpy()), 30.0 + 225.0 * shade, 0.0).astype(np.uint8)
        open3d.io.write_image(str(arguments.pictures / f"{name}.png"), open3d.geometry.Image(np.ascontiguousarray(grey[..., None].repeat(3, -1))))


def points_of(depth, k, pose):
    """Points in the world of every pixel that has a depth."""
    rows, columns = np.nonzero(np.nan_to_num(depth) > 0.0)
    meters = depth[rows, columns]
    there = np.stack([(columns - k[0, 2]) / k[0, 0], (rows - k[1, 2]) / k[1, 1], np.ones(len(rows))], -1) * meters[:, None]
    return there @ pose[:3, :3].T + pose[:3, 3]


def judge(label, film, voxel, distance, seen, name=None):
    """Quantiles of the distance of the mesh from the scene, and the share of what was seen that has a mesh within a voxel.

    Returns whether the mesh is the scene's to within the voxel, and its surface.
    """
    mesh = fused(film["depth"], film["k"], film["pose"], voxel)
    if mesh is None:
        print(f"{label:46} {1e3 * voxel:5.0f}   no mesh", flush=True)
        return False, None
    surface, vertices = Surface(mesh), mesh.vertex.positions.numpy().astype(float)
    [median, most], complete = np.quantile(distance(vertices), [0.5, 0.95]), np.mean(surface.distance(seen) < voxel)
    print(f"{label:46} {1e3 * voxel:5.0f} {len(vertices):8} {1e3 * median:8.1f} {1e3 * most:8.1f} {100.0 * complete:8.1f}", flush=True)
    if name:
        height, width = film["depth"][0].shape
        surface.draw(name, film["k"][0] * [[4.0], [4.0], [1.0]], film["pose"][0], (4 * width, 4 * height))
    return bool(median < voxel / 4.0 and most < voxel and complete > 0.95), surface


def room():
    """Whether true depth gives the room, and no fault does."""
    true, errors = dict(np.load(arguments.room)), dict(np.load(arguments.errors))
    poses = [scene.world_from_camera(frame) for frame in range(scene.FRAMES)]
    seen = np.concatenate([points_of(scene.depth(pose), scene.CAMERA, pose)[::97] for pose in poses[::2]])
    assert scene.distance(seen).max() < 1e-9, "the scene's depth and distances agree"
    assert len(true["depth"]) == scene.FRAMES and np.isfinite(true["depth"]).all()

    def faulty(label, depth=true["depth"], k=true["k"], pose=true["pose"]):
        return judge(label, {"depth": depth, "k": k, "pose": pose}, 0.02, scene.distance, seen)[0]

    good = [judge("room, true depth", true, voxel, scene.distance, seen, f"room_{1e3 * voxel:.0f}mm")[0] for voxel in (0.04, 0.02, 0.01)]
    judge("room, 3 % of scale a frame, 1 % of noise", errors, 0.02, scene.distance, seen, "room_errors")
    print("faults, which must not pass:")
    slant = np.linalg.norm(scene.rays(), axis=-1)
    to_body = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    bad = [
        faulty("focal length 5 % too long", k=true["k"] * np.array([[1.05, 1.0, 1.0], [1.0, 1.05, 1.0], [1.0, 1.0, 1.0]])),
        faulty("principal point two pixels off", k=true["k"] + 4.0 * FROM_INTEGER_CENTRES),
        faulty("range along the ray for depth", depth=true["depth"] * slant),
        faulty("poses of the frame before", pose=np.roll(true["pose"], 1, axis=0)),
        faulty("body frame for the optical frame", pose=true["pose"] @ to_body),
        faulty("1 % and 2 cm too far", depth=true["depth"] * 1.01 + 0.02),
    ]
    return all(good) and not any(bad)


def cell():
    """Predicted depth, against what true depth of the same frames shows. Reported, not judged."""
    true, predicted = dict(np.load(arguments.cell)), dict(np.load(arguments.predicted))
    seen = np.concatenate([points_of(depth, k, pose)[::37] for depth, k, pose in zip(true["depth"], true["k"], true["pose"])])
    fine = Surface(fused(true["depth"], true["k"], true["pose"], 0.005))
    print("the robot's cell, against the mesh of true depth at 5 mm:")
    judge("cell, true depth", true, 0.02, fine.distance, seen, "cell_true")
    judge("cell, predicted depth", predicted, 0.02, fine.distance, seen, "cell_predicted")
    still = {**true, "depth": np.broadcast_to(true["depth"][0], true["depth"].shape)}
    judge("cell, true depth of the first frame for all", still, 0.02, fine.distance, seen)
    known = np.isfinite(true["depth"]) & np.isfinite(predicted["depth"])
    shares = np.abs(predicted["depth"] - true["depth"])[known] / true["depth"][known]
    print(f"predicted depth itself: AbsRel {shares.mean():.3f} over {100.0 * known.mean():.0f} % of the pixels")


arguments.pictures.mkdir(parents=True, exist_ok=True)
print(f"{'depth of the node':46} {'voxel':>5} {'vertices':>8} {'median':>8} {'95 %':>8} {'seen %':>8}   (mm from the scene)")
passed = room() if arguments.room else True
if arguments.predicted:
    cell()
sys.exit(0 if passed else 1)
