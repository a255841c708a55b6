"""Model files: whole or not at all, and nothing in them that could run."""

import json
import os
import pickle
import zipfile

import numpy as np
import pytest

from rlbook import saving


def write(path, **arrays):
    saving.save(path, "Kind", {"note": "x"}, arrays)


def test_what_is_saved_is_loaded(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "b/c": np.array([], np.int64)}
    saving.save(tmp_path / "m", "Kind", {"list": [1, None, "two"], "big": 2**80}, arrays)
    header, loaded = saving.load(tmp_path / "m", "Kind")
    assert header == {"list": [1, None, "two"], "big": 2**80}
    assert loaded.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(array, loaded[name]) and array.dtype == loaded[name].dtype


def test_arrays_and_bytes_in_a_header_come_back_as_they_were(tmp_path):
    generator = np.random.Generator(np.random.MT19937(5)).bit_generator.state
    header = {
        "states": [
            None,
            {"obs": np.float32([1, np.nan]), "actions": b"\x00\x01\x00", "generator": generator},
            {"frames": np.zeros((2, 0, 3), np.uint8), "actions": b"", "counter": np.int64(7)},
        ],
        "pair": (np.array(3.5), {"inner": [b"bytes"]}),
    }
    arrays = {"a": np.ones(3)}
    saving.save(tmp_path / "m", "Kind", header, arrays)
    found, loaded = saving.load(tmp_path / "m", "Kind")
    np.testing.assert_equal(found, header | {"pair": list(header["pair"])})
    states = found["states"]
    assert states[1]["obs"].dtype == np.float32 and type(states[1]["actions"]) is bytes
    assert states[1]["generator"]["state"]["key"].dtype == np.uint32
    assert states[2]["frames"].shape == (2, 0, 3) and states[2]["counter"] == 7
    assert loaded.keys() == arrays.keys() == {"a"}  # those of the header are not among them
    np.random.MT19937().state = states[1]["generator"]


def test_a_header_that_names_an_array_which_is_not_there_is_damaged(tmp_path):
    header = {"format": saving.FORMAT, "kind": "Kind", "states": {"array": "header/0"}}
    np.savez(tmp_path / "m.npz", header=np.array(json.dumps(header)))
    with pytest.raises(ValueError, match="is damaged, or no model file"):
        saving.load(tmp_path / "m.npz", "Kind")


def test_an_array_of_objects_in_a_header_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="must hold numbers or text, got Python objects"):
        saving.save(tmp_path / "m", "Kind", {"states": [np.array([{}])]}, {})
    assert not os.listdir(tmp_path)


def test_the_file_keeps_the_name_it_was_given(tmp_path):
    write(tmp_path / "model.rlbook")
    assert os.listdir(tmp_path) == ["model.rlbook"]


@pytest.mark.parametrize(
    "header, error", [({"bad": object()}, "not JSON serializable"), ({}, "the disk is full")]
)
def test_a_write_that_fails_leaves_the_old_file(header, error, tmp_path, monkeypatch):
    path = tmp_path / "m"
    write(path, a=np.ones(3))
    before = path.read_bytes()

    def fail(file, **arrays):
        file.write(b"half of it")
        raise OSError("the disk is full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises((OSError, TypeError), match=error):
        saving.save(path, "Kind", header, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m"]


def test_whoever_reads_the_old_file_reads_it_to_its_end(tmp_path):
    write(tmp_path / "m", a=np.zeros(3))
    before = (tmp_path / "m").read_bytes()
    with open(tmp_path / "m", "rb") as old:
        write(tmp_path / "m", a=np.ones(3))
        assert old.read() == before != (tmp_path / "m").read_bytes()


def test_others_may_read_the_file_as_the_umask_says(tmp_path):
    (tmp_path / "plain").touch()
    write(tmp_path / "model")
    assert (tmp_path / "model").stat().st_mode == (tmp_path / "plain").stat().st_mode


class Trap:
    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_a_pickle_in_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    header = np.array(json.dumps({"format": saving.FORMAT, "kind": "Kind"}))
    np.savez("array.npz", header=header, q=np.array([Trap()], object))
    (tmp_path / "pickle").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile("zipped.npz", "w") as archive:
        archive.writestr("header.npy", pickle.dumps(Trap()))
    for name in ("array.npz", "pickle", "zipped.npz"):
        with pytest.raises(ValueError, match="is damaged, or no model file"):
            saving.load(name, "Kind")
    assert not os.path.exists("sprung")


def test_a_pickle_is_not_written_either(tmp_path):
    with pytest.raises(ValueError, match="'a' must hold numbers or text, got Python objects"):
        write(tmp_path / "m", a=np.array([{}]))
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    "header", ["5", "[]", "{", "{}", '{"format": "other", "kind": "Kind"}',
               f'{{"format": "{saving.FORMAT}"}}'],
)  # fmt: skip
def test_a_foreign_header_is_told(header, tmp_path):
    np.savez(tmp_path / "m.npz", header=np.array(header))
    with pytest.raises(ValueError, match="is damaged, or no model file"):
        saving.load(tmp_path / "m.npz", "Kind")


def test_other_files_are_told(tmp_path):
    np.save(tmp_path / "array.npy", np.ones(3))
    np.savez(tmp_path / "arrays.npz", a=np.ones(3))
    (tmp_path / "text").write_text("hello")
    (tmp_path / "empty").touch()
    for name in ("array.npy", "arrays.npz", "text", "empty", "."):
        with pytest.raises(ValueError, match="is damaged, or no model file"):
            saving.load(tmp_path / name, "Kind")


def test_another_kind_and_no_file_are_told_apart(tmp_path):
    write(tmp_path / "m")
    with pytest.raises(ValueError, match=r"m holds a Kind agent: load it with Kind\.load"):
        saving.load(tmp_path / "m", "Other")
    with pytest.raises(FileNotFoundError):
        saving.load(tmp_path / "nothing", "Kind")
