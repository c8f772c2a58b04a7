"""Where shoulders and collar are: one affine motion of the torso a frame.

A head's pose does not tell it, so it is tracked (torso_tracker.py), and goes wherever the
head's pose goes. A motion is 6 numbers, in sides of the picture (`undone`).
"""

MOTION = 6


def undone(motion, place):
    """Places [B, P, 2] in [0, 1] (column, row) of the reference, of those that frames show
    under motions [B, 6]: place + M (place - 1/2) + d, M [2, 2] row by row, then d."""
    turn = motion[:, None, :4].reshape(-1, 1, 2, 2)
    moved = (turn * (place - 0.5)[..., None, :]).sum(-1)
    return place + moved + motion[:, None, 4:]
