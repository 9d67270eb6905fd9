"""Messages as pictures, for the demos."""

import numpy as np


def array(message, dtype, channels):
    values = np.frombuffer(bytes(message.data), dtype)
    return values.reshape(message.height, message.width, channels)


def cloud(message):
    """x, y, z, rgb and, of a point map head, confidence of every point."""
    return array(message, "<f4", message.point_step // 4)


def turbo(share):
    """Google's Turbo by its published polynomial; 0 blue, 1 red."""
    powers = np.stack([share**k for k in range(6)], axis=-1)
    table = np.array([[0.13572138, 4.6153926, -42.66032258, 132.13108234, -152.94239396, 59.28637943],
                      [0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604],
                      [0.1066733, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973]])
    return (np.clip(powers @ table.T, 0, 1) * 255).astype(np.uint8)


def depth_picture(depth, span=None):
    known = depth[np.isfinite(depth)]
    near, far = span or (np.percentile(known, [2, 98]) if known.size else (0, 1))
    picture = turbo(np.clip((far - np.nan_to_num(depth)) / max(far - near, 1e-3), 0, 1))
    picture[~np.isfinite(depth)] = 0
    return picture


def points_picture(cloud, size):
    """The cloud from 25 degrees to the right, nearest points last; without those that a head is rather not sure of."""
    xyz, rgb = cloud[..., :3].reshape(-1, 3), np.ascontiguousarray(cloud[..., 3]).view(np.uint8).reshape(-1, 4)[:, 2::-1]
    valid = np.isfinite(xyz).all(axis=1) & (cloud[..., 4:].reshape(len(xyz), -1) >= 0.5).all(axis=1)
    xyz, rgb = xyz[valid], rgb[valid]
    picture = np.full((size[1], size[0], 3), 24, np.uint8)
    if not len(xyz):
        return picture
    centre, angle = np.median(xyz, axis=0), np.radians(25)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    turned = (xyz - centre) @ turn.T + [0, 0, 1.6 * centre[2]]
    order = np.argsort(-turned[:, 2])
    turned, rgb = turned[order], rgb[order]
    front = turned[:, 2] > 1e-3
    turned, rgb = turned[front], rgb[front]
    u = (turned[:, 0] / turned[:, 2] * size[0] * 1.2 + size[0] / 2).astype(int)
    v = (turned[:, 1] / turned[:, 2] * size[0] * 1.2 + size[1] / 2).astype(int)
    for du in (0, 1):
        inside = (u + du >= 0) & (u + du < size[0]) & (v >= 0) & (v < size[1])
        picture[v[inside], u[inside] + du] = rgb[inside]
    return picture
