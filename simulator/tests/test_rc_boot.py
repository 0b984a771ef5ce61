"""What rc(8) starts when a simulated host boots, and in which order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from freebsd_sim.commands.rcorder import order, read_script

HEADER = "#!/bin/sh\n#\n# PROVIDE: {0}\n# REQUIRE: {1}\n# KEYWORD: shutdown nojail\n\n# BEFORE: not read any more\n"
#: A script that notes the verb's prefix, in a file that outlives a boot.
SCRIPT = (
    "printf '%s\\n' '#!/bin/sh' '# PROVIDE: {0}' '# REQUIRE: {1}' '. /etc/rc.subr' name={0} rcvar={0}_enable"
    " 'load_rc_config $name' 'start_cmd=note' 'stop_cmd=:'"
    " 'note() {{ echo \"$name${{rc_fast:+ fast}}\" >> /var/log/boots; }}'"
    " 'run_rc_command \"$1\"' > /usr/local/etc/rc.d/{0}; chmod 555 /usr/local/etc/rc.d/{0}"
)


def names(*headers: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Return scripts of these headers in their order, and the complaints."""
    scripts = [read_script(provides.split()[0], HEADER.format(provides, requires)) for provides, requires in headers]
    ordered, complaints = order(scripts)
    return [script.file for script in ordered], complaints


def test_a_script_comes_after_what_it_requires() -> None:
    assert names(("a", "c"), ("b", ""), ("c", "b")) == (["b", "c", "a"], [])
    assert names(("a", "y"), ("b y", "")) == (["b", "a"], [])


def test_before_is_the_same_seen_from_the_other_side() -> None:
    late, early = read_script("late", "# PROVIDE: late\n"), read_script("early", "# PROVIDE: early\n# BEFORE: late\n")
    assert [script.file for script in order([late, early])[0]] == ["early", "late"]


def test_what_cannot_be_ordered_is_said() -> None:
    assert names(("a", "z"))[1] == ["rcorder: requirement `z' in file `a' has no providers."]
    found, complaints = names(("a", "b"), ("b", "a"))
    assert sorted(found) == ["a", "b"] and complaints == ["rcorder: Circular dependency on file `a'."]


def test_keywords_and_a_header_s_end() -> None:
    script = read_script("x", HEADER.format("x", "LOGIN DAEMON"))
    assert (script.requires, script.keywords, script.before) == (["LOGIN", "DAEMON"], ["shutdown", "nojail"], [])


def test_enabled_scripts_run_in_order_at_each_start(new_host: Callable[..., Any], simulator: Any) -> None:
    run = new_host("boots", "--bare")
    for name, requires in (("first", "LOGIN second"), ("second", "LOGIN"), ("third", "LOGIN")):
        assert run(SCRIPT.format(name, requires)).returncode == 0
    assert run("sysrc first_enable=YES second_enable=YES third_enable=NO").returncode == 0
    assert run("rcorder -s shutdown /etc/rc.d/* /usr/local/etc/rc.d/* | tail -3").stdout.split() == [
        "/usr/local/etc/rc.d/second", "/usr/local/etc/rc.d/first", "/usr/local/etc/rc.d/third",
    ]  # fmt: skip
    simulator.run("stop", "--name", "boots")
    simulator.start("boots")
    assert run("cat /var/log/boots").stdout.splitlines() == ["second fast", "first fast"]
    simulator.run("stop", "--name", "boots")
    simulator.start("boots", "--single-user")
    assert run("cat /var/log/boots").stdout.count("\n") == 2
