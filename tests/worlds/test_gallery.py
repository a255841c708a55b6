"""The gallery shows every world, and is what its command writes."""

import pytest
from PIL import Image

import rlbook_envs
from rlbook_envs import gallery

README = (gallery.FOLDER / "README.md").read_text()


def test_it_is_what_the_command_writes():
    start, end = README.index(gallery.BEGIN), README.index(gallery.END) + len(gallery.END)
    assert README[start:end] == gallery.gallery(), "run python -m rlbook_envs.gallery"


@pytest.mark.parametrize("name", [name for name, *_ in rlbook_envs.WORLDS])
def test_every_world_has_its_pictures(name):
    assert f"## `rlbook/{name}-v0`" in README
    kind = "gif" if gallery.PLAYED[name][2] else "png"
    assert f"(images/{name}.{kind})" in README
    with Image.open(gallery.FOLDER / "images" / f"{name}.{kind}") as image:
        assert image.width <= gallery.WIDEST
        assert getattr(image, "n_frames", 1) == (gallery.PLAYED[name][2] or 1)


def test_a_world_is_drawn_as_it_was_kept(tmp_path, monkeypatch):
    kept = gallery.FOLDER / "images" / "CliffWalking.png"
    monkeypatch.setattr(gallery, "FOLDER", tmp_path)
    (tmp_path / "images").mkdir()
    (made,) = gallery.draw("CliffWalking")
    with Image.open(made) as mine, Image.open(kept) as theirs:
        assert mine.tobytes() == theirs.tobytes()
