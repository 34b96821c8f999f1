"""What travels with a job: the files that Ray takes, no more and no fewer, and a refusal that names the large ones."""

from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

import pytest

from am_ray.jobs import JobsError
from am_ray.jobs.package import package_of

ROOT = Path(__file__).parents[2]


def write(root: Path, files: dict[str, int | str]) -> None:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * content if isinstance(content, int) else content.encode())


def test_the_list_and_the_size_are_those_of_rays_own_archive(tmp_path: Path) -> None:
    from ray._private.runtime_env.packaging import create_package

    root = tmp_path / "project"
    files: dict[str, int | str] = {
        ".gitignore": "*.log\n/out/\n!keep.log\n",
        ".rayignore": "big/\nsub/*.bin\n",
        "a.py": 10, "x.log": 3, "keep.log": 4, "out/r": 5, "sub/out/r": 6, "big/b": 7, "sub/big/b": 8, "sub/c.bin": 9,
        "sub/.gitignore": "only-here\n", "sub/only-here": 1, "only-here": 2, "ünïcode/é.txt": 11,
    }  # fmt: skip
    write(root, files)
    archive = tmp_path / "package.zip"
    create_package(str(root), archive, include_gitignore=True)
    with ZipFile(archive) as opened:
        theirs = {entry.filename: entry.file_size for entry in opened.infolist() if not entry.is_dir()}
    package = package_of(root)
    assert package.files == theirs
    assert {"keep.log", "sub/out/r", "only-here"} <= theirs.keys() and "sub/only-here" not in theirs
    assert package.size == archive.stat().st_size
    assert package.holds("sub/out") and package.holds("./a.py") and not package.holds("big") and not package.holds("su")


def test_too_large_is_refused_here_with_the_largest_files_first(tmp_path: Path) -> None:
    write(tmp_path, {f"f{index:02}": 100 * index for index in range(1, 15)})
    with pytest.raises(JobsError) as error:
        package_of(tmp_path, limit=10_000)
    lines = str(error.value).splitlines()
    named = [line.split()[-1] for line in lines[1:-1]]
    assert named == [f"f{index:02}" for index in range(14, 4, -1)]
    assert "1.4 KiB" in lines[1] and ".rayignore" in lines[-1]
    write(tmp_path, {".rayignore": "f1*\n"})
    assert package_of(tmp_path, limit=10_000).size < 10_000


def test_the_limit_is_512_mib_to_the_byte(tmp_path: Path) -> None:
    """A sparse file: nothing is written, nothing is read."""
    with (tmp_path / "weights").open("wb") as stream:
        stream.truncate(600 * 2**20)
    with pytest.raises(JobsError, match=r"600\.0 MiB would be uploaded; Ray takes less than 512\.0 MiB"):
        package_of(tmp_path)
    overhead = package_of(tmp_path, limit=2**40).size - 600 * 2**20
    with (tmp_path / "weights").open("wb") as stream:
        stream.truncate(512 * 2**20 - overhead - 1)
    assert package_of(tmp_path).size == 512 * 2**20 - 1


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobsError, match="not a folder"):
        package_of(tmp_path / "nowhere")


def test_this_checkout_travels_without_data_results_and_secrets(tmp_path: Path) -> None:
    secrets = {".env": 1, "head.pem": 1, ".ray/auth_token": 1}
    results = {
        "runs/x/checkpoint-1/weights": 1,
        "mlflow.db": 1,
        "data/tray/a.parquet": 1,
        ".venv/lib/torch.so": 1,
        ".git/x": 1,
    }
    kept = {
        "am_ray/data/reader.py": 1,
        "datasets/sample/a.parquet": 1,
        "tune_configs/smoke.yaml": 1,
        "requirements.lock": 1,
    }
    write(tmp_path, {**secrets, **results, **kept, "datasets/other/a.parquet": 1})
    for name in (".rayignore", ".gitignore"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    assert set(package_of(tmp_path).files) == {*kept, ".rayignore", ".gitignore"}
