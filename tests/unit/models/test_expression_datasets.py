import io
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.errors import DatasetError
from models.expression.preprocessing import resize_grey, to_grey
from models.expression.taxonomy import FERPLUS_VOTES, LABELS, OUT_OF_SCOPE, ferplus_other
from models.training.expression.data.corpus import load_outside, load_training, read_learnable
from models.training.expression.data.datasets import (
    Picture,
    decode_picture,
    pack_pictures,
    read_ferplus,
    read_labelled_csv,
    read_labelled_folder,
    read_muxspace,
    read_rafdb,
)
from models.training.expression.data.splits import Part, digest_fraction, guard_training, part_of

HEADER = "file,split,fer2013_label,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def png(seed: int, *, side_px: int = 48, colour: bool = False) -> bytes:
    shape = (side_px, side_px, 3) if colour else (side_px, side_px)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return bytes(cv2.imencode(".png", pixels)[1])


def archive(path: Path, table: str, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("labels.csv", table)
        for name, content in files.items():
            opened.writestr(name, content)
    return path


def ferplus_archive(folder: Path) -> Path:
    rows = [
        "a.png,Training,happy,0,10,0,0,0,0,0,0,0,0",
        "b.png,Training,disgust,0,0,0,0,6,4,0,0,0,0",
        "c.png,Training,neutral,0,0,0,0,0,0,0,0,0,10",
        "d.png,PublicTest,sad,0,0,0,8,2,0,0,0,0,0",
        "e.png,PrivateTest,fear,0,0,3,0,0,0,7,0,0,0",
    ]
    files = {f"{name}.png": png(ord(name)) for name in "abcde"}
    return archive(folder / "fer2013plus.zip", "\n".join([HEADER, *rows]), files)


def rafdb_archive(folder: Path, count: int = 60) -> Path:
    rows = [f"{i}.png,train,{('happy', 'sad')[i % 2]},4" for i in range(count)] + ["t.png,test,angry,6"]
    files = {f"{i}.png": png(i, side_px=100, colour=True) for i in range(count)} | {
        "t.png": png(999, colour=True)
    }
    return archive(folder / "rafdb.zip", "\n".join(["file,split,label,raf_code", *rows]), files)


def test_ferplus_pictures_carry_votes_majority_and_original_label(tmp_path: Path) -> None:
    pictures = list(read_ferplus(ferplus_archive(tmp_path)))
    assert [p.label for p in pictures] == [
        0,
        LABELS.index("angry"),
        OUT_OF_SCOPE,
        LABELS.index("sad"),
        OUT_OF_SCOPE,
    ]
    assert pictures[4].original_label == OUT_OF_SCOPE
    assert pictures[0].pixels.shape == (48, 48)
    assert not pictures[2].target.any()


def test_original_disgust_keeps_half_of_its_label_because_voters_hardly_say_it(tmp_path: Path) -> None:
    disgust = list(read_ferplus(ferplus_archive(tmp_path), ("Training",)))[1]
    assert disgust.target[LABELS.index("disgust")] == pytest.approx(0.7)
    assert disgust.target[LABELS.index("angry")] == pytest.approx(0.3)


def test_rafdb_pictures_are_decoded_as_red_green_blue(tmp_path: Path) -> None:
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 2] = 255
    content = bytes(cv2.imencode(".png", red)[1])
    made = archive(tmp_path / "rafdb.zip", "file,split,label\nx.png,train,happy", {"x.png": content})
    assert next(read_rafdb(made)).pixels[0, 0].tolist() == [255, 0, 0]


def test_official_test_splits_are_never_among_the_learnable_pictures(tmp_path: Path) -> None:
    ferplus_archive(tmp_path)
    rafdb_archive(tmp_path)
    splits = {p.split for p in read_learnable(tmp_path)}
    assert splits == {"Training", "PublicTest", "train"}


def test_training_and_validation_share_no_file_and_do_not_depend_on_order(tmp_path: Path) -> None:
    ferplus_archive(tmp_path)
    rafdb_archive(tmp_path)
    training, validation = load_training(tmp_path, side_px=24, validation_share=0.3)
    assert not set(training.digests) & set(validation.digests)
    assert len(validation) > 5
    assert training.grey.shape[1:] == (24, 24)
    again, _ = load_training(tmp_path, side_px=24, validation_share=0.3)
    assert again.digests == training.digests


def test_a_picture_keeps_its_part_whatever_else_the_set_holds(tmp_path: Path) -> None:
    few = {p.digest: part_of(p, validation_share=0.3) for p in read_rafdb(rafdb_archive(tmp_path, 10))}
    many = {p.digest: part_of(p, validation_share=0.3) for p in read_rafdb(rafdb_archive(tmp_path, 60))}
    assert all(many[digest] is part for digest, part in few.items())


def test_digest_fractions_spread_over_the_unit_interval() -> None:
    assert digest_fraction("0" * 64) == 0.0
    assert 0.999 < digest_fraction("f" * 64) < 1.0


def test_learning_from_a_test_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="refusing to learn"):
        list(guard_training(read_rafdb(rafdb_archive(tmp_path), ("test",))))


def test_learning_from_a_test_only_set_is_refused_whatever_its_split_says(tmp_path: Path) -> None:
    made = archive(tmp_path / "m.zip", "file,label\nx.png,happy", {"x.png": png(1)})
    relabelled = (replace(p, split="train") for p in read_muxspace(made))
    with pytest.raises(DatasetError, match="refusing to learn"):
        list(guard_training(relabelled))


def test_a_known_test_file_under_another_name_is_refused(tmp_path: Path) -> None:
    picture = next(read_rafdb(rafdb_archive(tmp_path)))
    with pytest.raises(DatasetError, match="also a test or development picture"):
        list(guard_training([picture], forbidden={picture.digest}))


def test_a_test_picture_smuggled_in_under_another_name_stops_the_reading(tmp_path: Path) -> None:
    rafdb_archive(tmp_path)
    (tmp_path / "innocent.png").write_bytes(png(999, colour=True))
    (tmp_path / "mine.csv").write_text("file,label,split\ninnocent.png,angry,train\n", "utf-8")
    with pytest.raises(DatasetError, match=r"innocent\.png"):
        load_training(tmp_path, side_px=24, validation_share=0.0)


def test_pictures_of_none_of_the_six_come_from_validation_alone(tmp_path: Path) -> None:
    rows = [
        "train.png,Training,fear,0,0,0,0,0,0,9,0,1,0",
        "fear.png,PublicTest,fear,0,0,1,0,0,0,9,0,0,0",
        "nobody.png,PublicTest,neutral,0,0,0,0,0,0,0,0,0,10",
        "happy.png,PublicTest,happy,0,10,0,0,0,0,0,0,0,0",
        "torn.png,PublicTest,sad,4,0,0,4,2,0,0,0,0,0",
        "test.png,PrivateTest,fear,0,0,0,0,0,0,9,0,1,0",
    ]
    names = [row.split(",")[0] for row in rows]
    files = {name: png(number) for number, name in enumerate(names)}
    archive(tmp_path / "fer2013plus.zip", "\n".join([HEADER, *rows]), files)
    outside = load_outside(tmp_path, side_px=24, validation_share=0.3)
    expected = [resize_grey(to_grey(decode_picture(files[n], n)), 24) for n in ("fear.png", "nobody.png")]
    assert [p.tolist() for p in outside] == [p.tolist() for p in expected]


def test_any_folder_of_labels_can_be_read_with_and_without_splits(tmp_path: Path) -> None:
    for name in ("happy/1.png", "test/sadness/2.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True)
        path.write_bytes(png(3))
    pictures = list(read_labelled_folder(tmp_path))
    assert [(p.split, p.label) for p in pictures] == [("", 0), ("test", 1)]
    assert [part_of(p, validation_share=0.0) for p in pictures] == [Part.TRAIN, Part.TEST]


def test_any_csv_can_be_read_but_not_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(4))
    table = tmp_path / "mine.csv"
    table.write_text("file,label,split\na.png,angry,val\n", "utf-8")
    picture = next(read_labelled_csv(table))
    assert (picture.label, picture.source, part_of(picture, validation_share=0.0)) == (
        2,
        "mine",
        Part.VALIDATION,
    )
    table.write_text("file,label\n../a.png,angry\n", "utf-8")
    with pytest.raises(DatasetError, match="outside"):
        next(read_labelled_csv(table))
    table.write_text("file,label\na.png\n", "utf-8")
    with pytest.raises(DatasetError, match="needs the columns file and label"):
        next(read_labelled_csv(table))
    table.write_bytes("file,label\na.png,über\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"mine\.csv is damaged"):
        next(read_labelled_csv(table))


@pytest.mark.parametrize("content", [b"", b"not a picture", png(1)[:40]])
def test_a_file_that_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    made = archive(tmp_path / "r.zip", "file,split,label\nbad.png,train,happy", {"bad.png": content})
    with pytest.raises(DatasetError, match=r"bad\.png"):
        list(read_rafdb(made))


def test_an_archive_that_lacks_a_column_or_a_picture_is_refused_by_name(tmp_path: Path) -> None:
    made = archive(tmp_path / "r.zip", "file,label\na.png,happy", {"a.png": png(1)})
    with pytest.raises(DatasetError, match=r"r\.zip lacks split"):
        list(read_rafdb(made))
    made = archive(tmp_path / "r.zip", "file,split,label\ngone.png,train,happy", {})
    with pytest.raises(DatasetError, match=r"r\.zip lacks .*gone\.png"):
        list(read_rafdb(made))
    votes = archive(tmp_path / "f.zip", f"{HEADER}\na.png,Training,happy,many,0,0,0,0,0,0,0,0,0", {})
    with pytest.raises(DatasetError, match=r"f\.zip is damaged"):
        list(read_ferplus(votes))


def test_a_missing_or_foreign_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"gone\.zip"):
        list(read_rafdb(tmp_path / "gone.zip"))
    empty = tmp_path / "empty.zip"
    with zipfile.ZipFile(io.BytesIO(), "w"):
        pass
    zipfile.ZipFile(empty, "w").close()
    with pytest.raises(DatasetError, match=r"labels\.csv"):
        list(read_rafdb(empty))


def test_a_packed_target_holds_the_six_and_how_much_is_none_of_them(tmp_path: Path) -> None:
    pictures: list[Picture] = list(read_ferplus(ferplus_archive(tmp_path), ("Training",)))
    packed = pack_pictures(pictures, side_px=32)
    assert packed.targets.shape == (3, 7)
    np.testing.assert_allclose(packed.targets.sum(axis=1), 1.0, rtol=1e-6)
    assert packed.labels[2] == 6
    with pytest.raises(DatasetError, match="no picture"):
        pack_pictures([], side_px=32)


def test_out_of_scope_votes_take_their_share_of_the_target() -> None:
    votes = dict.fromkeys(FERPLUS_VOTES, 0) | {"happiness": 6, "contempt": 2, "fear": 1}
    assert ferplus_other(list(votes.values())) == pytest.approx(0.25)
    assert ferplus_other([0] * 9 + [10]) == 1.0
