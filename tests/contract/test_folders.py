"""contract/folders.py: where the files go of a user who has no home folder, or names a strange one."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from kvfpga.contract import folders
from kvfpga.contract.errors import UsageError

KINDS = [(folders.cache, "XDG_CACHE_HOME"), (folders.config, "XDG_CONFIG_HOME"), (folders.state, "XDG_STATE_HOME")]


@pytest.fixture(params=KINDS, ids=lambda kind: kind[1])
def kind(request, monkeypatch):
    monkeypatch.delenv(request.param[1], raising=False)
    return request.param


def test_the_standard_names_them(kind, monkeypatch):
    folder, variable = kind
    monkeypatch.setenv("HOME", "/home/me")
    usual = folder()
    assert usual.is_relative_to("/home/me") and usual.name == "kvfpga"
    monkeypatch.setenv(variable, "/data")
    assert folder() == Path("/data/kvfpga")
    monkeypatch.setenv(variable, "data")
    assert folder() == usual


def test_without_HOME_it_is_what_the_system_says(kind, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)
    assert kind[0]().is_relative_to(pwd.getpwuid(os.getuid()).pw_dir)


@pytest.mark.parametrize(("home", "text"), [(None, "HOME is not set"), ("", "HOME='' is no absolute path"), ("me", "HOME='me'")])
def test_without_a_home_folder_the_error_names_the_variables(kind, monkeypatch, home, text):
    folder, variable = kind

    def nobody(user):
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
    else:
        monkeypatch.setenv("HOME", home)
    with pytest.raises(UsageError, match=text) as caught:
        folder()
    assert "HOME" in caught.value.remedy and variable in caught.value.remedy
    monkeypatch.setenv(variable, "/data")
    assert folder() == Path("/data/kvfpga")
