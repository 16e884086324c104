"""The pictures of `kvfpga top` that the pages show."""

from __future__ import annotations

import pytest

from scripts import pictures


def test_they_are_drawn_into_a_folder_that_is_made(tmp_path):
    pictures.main(["--out", str(tmp_path / "new" / "folder"), "--size", "80x24"])
    drawn = {path.stem: path.read_text("utf-8") for path in (tmp_path / "new" / "folder").iterdir()}
    assert drawn.keys() == pictures.PANES.keys()
    assert all(text.startswith("<svg") and "url(http" not in text and "@font-face" not in text for text in drawn.values())


@pytest.mark.parametrize("size", ["80", "0x24", "80x24x3", "wide"])
def test_a_size_that_is_none_is_refused(tmp_path, capsys, size):
    with pytest.raises(SystemExit) as end:
        pictures.main(["--out", str(tmp_path), "--size", size])
    assert end.value.code == 2 and "such as 80x24" in capsys.readouterr().err
