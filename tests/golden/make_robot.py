"""Makes robot.json: where yourdfpy puts the example arm's links, and the pixels in which MuJoCo's rays meet its body.

Needs: pip install yourdfpy==0.0.60 mujoco==4.0.0 numpy scipy (Python 3.11). From the repository's root:

    python tests/golden/make_robot.py

Neither library shares code with this project. MuJoCo casts exact rays at spheres, boxes, cylinders and meshes. With padding its
solids are grown by the padding on all sides; the mesh is left out there, because MuJoCo cannot grow it.
"""

import base64
import json
from pathlib import Path

import mujoco
import numpy as np
import yourdfpy

ROOT = Path(__file__).resolve().parents[2]
URDF = ROOT / "urdf/robots/arm.urdf"
SIZE = (96, 72)
FOCAL = 70.0
# Cameras and paddings; the wrist camera is nearer to the body than the larger padding.
VIEWS = [("static_camera_optical", 0.0), ("static_camera_optical", 0.03), ("wrist_camera_optical", 0.0), ("wrist_camera_optical", 0.01)]


def configurations():
    """Joint positions: zero, towards the upper limits, and random ones."""
    robot = yourdfpy.URDF.load(str(URDF), load_meshes=False)
    joints = [joint for joint in robot.actuated_joints if joint.mimic is None]
    low = [joint.limit.lower if joint.type != "continuous" else -4.0 for joint in joints]
    high = [joint.limit.upper if joint.type != "continuous" else 4.0 for joint in joints]
    random = np.random.default_rng(6).uniform(0.7 * np.array(low), 0.7 * np.array(high), (4, len(joints)))
    names = [joint.name for joint in joints]
    return [dict(zip(names, map(float, values))) for values in [np.zeros(len(joints)), 0.4 * np.array(high), *random]]


def link_poses(positions):
    robot = yourdfpy.URDF.load(str(URDF), load_meshes=False)
    robot.update_cfg(positions)
    poses = {link: robot.get_transform(link, robot.base_link) for link in robot.link_map}
    return {link: np.round(pose[:3], 9).ravel().tolist() for link, pose in poses.items()}


def mujoco_model():
    text = URDF.read_text().replace("package://pixio/urdf/robots/meshes/", "")
    options = '<mujoco><compiler fusestatic="false" discardvisual="true" strippath="true"/></mujoco></robot>'
    mesh = (ROOT / "urdf/robots/meshes/hand.stl").read_bytes()
    return mujoco.MjModel.from_xml_string(text.replace("</robot>", options), {"hand.stl": mesh})


def covered(positions, camera, padding):
    model = mujoco_model()
    data = mujoco.MjData(model)
    follower = {"right_finger": positions["left_finger"]}
    for name, value in {**positions, **follower}.items():
        data.qpos[model.jnt_qposadr[model.joint(name).id]] = value
    groups = np.ones(6, np.uint8)
    housing = model.body(camera.removesuffix("_optical")).id
    meshes = model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    for geom in range(model.ngeom):
        if model.geom_bodyid[geom] == housing or (padding and meshes[geom]):
            model.geom_group[geom] = 5  # the camera looks out of its own housing
    groups[5] = 0
    solids = ~meshes
    model.geom_size[solids] += padding * (model.geom_size[solids] > 0)
    model.geom_rbound[solids] += 2 * padding
    model.geom_aabb[solids, 3:] += padding
    mujoco.mj_forward(model, data)
    pose = np.reshape(link_poses(positions)[camera], (3, 4))
    width, height = SIZE
    hits = np.zeros((height, width), bool)
    geom = np.zeros(1, np.int32)
    for row in range(height):
        for column in range(width):
            ray = np.array([(column - (width - 1) / 2) / FOCAL, (row - (height - 1) / 2) / FOCAL, 1.0])
            ray = pose[:, :3] @ (ray / np.linalg.norm(ray))
            hits[row, column] = mujoco.mj_ray(model, data, pose[:, 3], ray, groups, 1, -1, geom, None) >= 0
    return hits


def main():
    cases = []
    for positions in configurations():
        masks = []
        for camera, padding in VIEWS:
            hits = covered(positions, camera, padding)
            assert 0 < hits.mean() < 1, "the camera sees the body and is in none of its shapes"
            bits = base64.b16encode(np.packbits(hits).tobytes()).decode()
            masks.append({"camera": camera, "padding": padding, "count": int(hits.sum()), "bits": bits})
            print(camera, padding, hits.mean())
        cases.append({"positions": positions, "links": link_poses(positions), "masks": masks})
    golden = {"width": SIZE[0], "height": SIZE[1], "focal": FOCAL, "cases": cases}
    (ROOT / "tests/golden/robot.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
