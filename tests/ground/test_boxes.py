import numpy as np

from pillsnap import boxes


def test_xywh_and_back():
    xywh = np.array([[10, 20, 30, 40]])
    assert boxes.from_xywh(xywh).tolist() == [[10, 20, 40, 60]]
    assert boxes.to_xywh(boxes.from_xywh(xywh)).tolist() == xywh.tolist()


def test_iou_of_itself_half_and_apart():
    a = np.array([[0, 0, 10, 10]], np.float32)
    b = np.array([[0, 0, 10, 10], [0, 0, 5, 10], [20, 20, 30, 30]], np.float32)
    assert np.allclose(boxes.iou(a, b), [[1.0, 0.5, 0.0]])


def test_iou_of_no_boxes_has_no_rows():
    assert boxes.iou(np.zeros((0, 4), np.float32), np.ones((2, 4), np.float32)).shape == (0, 2)


def test_clip_keeps_boxes_inside():
    assert boxes.clip(np.array([[-5, 3, 120, 90]], np.float32), 100, 50).tolist() == [
        [0, 3, 100, 50]
    ]
