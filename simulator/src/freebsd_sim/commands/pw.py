"""pw(8): create, remove, modify and display users and groups."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from freebsd_sim.call import Call, CommandExit, NotSimulated
from freebsd_sim.commands.bsd_options import parse_options
from freebsd_sim.kernel.accounts import ID_MAX, Accounts, Group, User

EX_USAGE, EX_DATAERR, EX_NOUSER, EX_SOFTWARE, EX_IOERR, EX_NOPERM, EX_CONFIG = 64, 65, 67, 70, 74, 77, 78
FIRST, LAST = 1001, 32000
LONGEST_NAME = 32
VERBS = ("add", "del", "mod", "show", "next", "lock", "unlock")
# In gecos and home directory other characters are bad than in names; pw_checkname in usr.sbin/pw/pw_user.c.
BAD_IN_NAMES = ' ,\t:+&#%$^()!@~*?<>=|\\/";'
BAD_IN_GECOS = ":"
USAGE = """\
usage:
  pw [user|group|lock|unlock] [add|del|mod|show|next] [help|switches/values]"""


def fail(status: int, text: str) -> CommandExit:
    """Return how the command ends with one line."""
    return CommandExit(status, f"pw: {text}")


def check_id(text: str) -> int:
    """Return a uid or gid. :raises CommandExit: it is none."""
    if not re.fullmatch(r"-?\d+", text):
        raise fail(EX_USAGE, f"Bad id '{text}': invalid")
    if int(text) < 0:
        raise fail(EX_USAGE, f"Bad id '{text}': too small")
    if int(text) > ID_MAX:
        raise fail(EX_USAGE, f"Bad id '{text}': too large")
    return int(text)


def check_name(name: str, *, gecos: bool = False) -> str:
    """Return a name that may stand in the account files. :raises CommandExit: it may not."""
    bad = BAD_IN_GECOS if gecos else BAD_IN_NAMES
    for position, letter in enumerate(name):
        special = letter in bad or ord(letter) < 32 or ord(letter) == 127 or (not gecos and ord(letter) > 127)
        if special or (not gecos and position == 0 and letter == "-"):
            kind = "gecos field" if gecos else "user name"
            shown = f"`{letter}'" if 32 <= ord(letter) < 127 else f"0x{ord(letter):02x}"
            raise fail(EX_DATAERR, f"invalid character {shown} at position {position} in {kind}")
    if not gecos and len(name) > LONGEST_NAME:
        raise fail(EX_USAGE, f"name too long `{name}' (max is {LONGEST_NAME})")
    return name


def next_free(taken: set[int]) -> int:
    """Return the number after the highest taken one in the range, as the default policy does."""
    inside = [number for number in taken if FIRST - 1 < number <= LAST]
    candidate = max(inside, default=FIRST - 1) + 1
    if candidate > LAST:
        candidate = next((number for number in range(FIRST, LAST + 1) if number not in taken), LAST + 1)
    if candidate > LAST:
        raise fail(EX_SOFTWARE, "unable to allocate a new uid - range fully used")
    return candidate


class Pw:
    """One run: the account files, the verb's options and the name or number it is about."""

    def __init__(self, call: Call, root: Path, options: list[tuple[str, str]], words: list[str]) -> None:
        self.call = call
        self.root = root
        self.accounts = Accounts.of_root(root)
        self.values = dict(options)
        self.word = words[0] if words else None

    def has(self, letter: str) -> bool:
        """Tell whether an option was given."""
        return letter in self.values

    # Users

    def find_user(self) -> User:
        """Return the user that -n, -u or the operand names. :raises CommandExit: none or unknown."""
        name = self.values.get("n")
        number = check_id(self.values["u"]) if self.has("u") and name is None and self.word is None else None
        if name is None and number is None and self.word is not None:
            if self.word.isdigit():
                number = check_id(self.word)
            else:
                name = self.word
        if name is not None:
            user = self.accounts.user(name)
            if user is None:
                raise fail(EX_NOUSER, f"no such user `{name}'")
            return user
        if number is None:
            raise fail(EX_DATAERR, "user name or id required")
        user = self.accounts.user_of(number)
        if user is None:
            raise fail(EX_NOUSER, f"no such uid `{number}'")
        return user

    def find_gid(self, text: str) -> int:
        """Return the gid of a group by name or number. :raises CommandExit: unknown."""
        group = self.accounts.group(text)
        if group is None and text.isdigit():
            group = self.accounts.group_of(int(text))
        if group is None:
            raise fail(EX_NOUSER, f"group `{text}' does not exist")
        return group.gid

    def find_shell(self, text: str) -> str:
        """Return a shell's path; a bare name is looked up. :raises CommandExit: there is none."""
        if not text or "/" in text:
            return text
        for directory in ("/bin", "/usr/bin", "/usr/local/bin", "/usr/sbin"):
            path = self.root / directory.lstrip("/") / text
            if path.exists() or path.is_symlink():
                return f"{directory}/{text}"
        raise fail(EX_CONFIG, f"can't find shell `{text}' in shell paths")

    def read_time(self, letter: str) -> int:
        """Return a time in seconds since 1970 from an option; only numbers are known here."""
        text = self.values.get(letter, "0")
        if not text.isdigit():
            raise NotSimulated(f"pw: a date for -{letter}")
        return int(text)

    def show_user(self, user: User) -> None:
        """Print a user's line, or a form with -P."""
        if not self.has("P"):
            shown = user.public_line() if self.has("7") else user.master_line()
            if not self.call.is_root:
                shown = replace(user, password="*").master_line()
            self.call.out(shown + "\n")
            return
        groups = ",".join(group.name for group in self.accounts.groups if user.name in group.members)
        self.call.out(
            f"Login Name: {user.name:<15}   #{user.uid:<16} "
            f"Group: {self.accounts.group_name(user.gid):<15}   #{user.gid}\n"
            f" Full Name: {user.gecos.partition(',')[0]}\n"
            f"      Home: {user.home:<26} Class: {user.login_class}\n"
            f"     Shell: {user.shell:<26} Office: \n"
            f"Work Phone: {'':<26}Home Phone: \n"
            f"Acc Expire: {'':<26}Pwd Expire: \n"
            f"    Groups: {groups}\n\n"
        )

    def user_show(self) -> int:
        """pw usershow."""
        if self.has("a"):
            for user in self.accounts.users:
                self.show_user(user)
            return 0
        try:
            user = self.find_user()
        except CommandExit:
            if not self.has("F"):
                raise
            user = User("nouser", "*", ID_MAX, ID_MAX, "", 0, 0, "User &", "/nonexistent", "/bin/sh")
        self.show_user(user)
        return 0

    def user_next(self) -> int:
        """pw usernext."""
        uid = next_free({user.uid for user in self.accounts.users})
        gid = next_free({group.gid for group in self.accounts.groups})
        self.call.out(f"{uid}:{gid}\n")
        return 0

    def user_add(self) -> int:
        """pw useradd."""
        if self.has("D"):
            raise NotSimulated("pw useradd -D")
        name = self.values.get("n", self.word)
        if name is None:
            raise fail(EX_DATAERR, "login name required")
        check_name(name)
        gecos = check_name(self.values.get("c", "User &"), gecos=True)
        if self.accounts.user(name) is not None:
            raise fail(EX_DATAERR, f"login name `{name}' already exists")
        uid = check_id(self.values["u"]) if self.has("u") else next_free({user.uid for user in self.accounts.users})
        same = self.accounts.user_of(uid)
        if self.has("u") and same is not None and not self.has("o"):
            raise fail(EX_DATAERR, f"uid `{uid}' has already been allocated")
        secondary = [self._group_named(text) for text in self.values.get("G", "").replace(",", " ").split()]
        shell = self.find_shell(self.values.get("s", "/bin/sh"))
        gid = self._user_group(name, uid)
        home = self.values.get("d", f"{self.values.get('b', '/home')}/{name}")
        user = User(name, self._new_password(), uid, gid, self.values.get("L", ""), self.read_time("p"),
                    self.read_time("e"), gecos, home, shell)  # fmt: skip
        if self.has("N"):
            self.show_user(user)
            return 0
        self.accounts.users.append(user)
        for group in secondary:
            if name not in group.members:
                group.members.append(name)
        self.accounts.save()
        if self.has("m"):
            self._make_home(user)
        mail = self.root / "var/mail"
        if mail.is_dir() and not (mail / name).exists():
            (mail / name).touch(mode=0o600)
            shutil.chown(mail / name, uid, gid)
        if uid == 0:
            self.call.err(f"pw: WARNING: new account `{name}' has a uid of 0 (superuser access!)\n")
        return 0

    def _group_named(self, text: str) -> Group:
        group = self.accounts.group(text)
        if group is None and text.isdigit():
            group = self.accounts.group_of(int(text))
        if group is None:
            raise fail(EX_NOUSER, f"group `{text}' does not exist")
        return group

    def _user_group(self, name: str, uid: int) -> int:
        if self.has("g"):
            return self.find_gid(self.values["g"])
        existing = self.accounts.group(name)
        if existing is not None and not existing.members:
            return existing.gid
        taken = {group.gid for group in self.accounts.groups}
        gid = uid if uid not in taken and uid > 0 else next_free(taken)
        if not self.has("N"):
            self.accounts.groups.append(Group(name, "*", gid))
        return gid

    def _new_password(self) -> str:
        if self.has("w"):
            kind = self.values["w"]
            if kind in ("no",):
                return "*"
            if kind == "none":
                return ""
            if kind in ("yes", "random"):
                raise NotSimulated(f"pw: -w {kind}")
            raise fail(1, "Invalid value for default password")
        if self.has("h") and self.values["h"] != "-":
            raise NotSimulated("pw: -h with a descriptor")
        if self.has("H"):
            raise NotSimulated("pw: -H")
        return "*"

    def _make_home(self, user: User) -> None:
        home = self.root / user.home.lstrip("/")
        if home.exists():
            return
        home.mkdir(parents=True)
        home.chmod(int(self.values.get("M", "755"), 8))
        skeleton = self.root / self.values.get("k", "/usr/share/skel").lstrip("/")
        if skeleton.is_dir() and self.has("k"):
            for item in skeleton.iterdir():
                target = home / item.name.replace("dot.", ".", 1)
                if item.is_dir():
                    shutil.copytree(item, target, symlinks=True)
                else:
                    shutil.copy2(item, target)
        for path in [home, *home.rglob("*")]:
            shutil.chown(path, user.uid, user.gid)

    def user_del(self) -> int:
        """pw userdel."""
        user = self.find_user()
        if user.name == "root":
            raise fail(EX_DATAERR, "cannot remove user 'root'")
        self.accounts.users.remove(user)
        for group in list(self.accounts.groups):
            if user.name in group.members:
                group.members.remove(user.name)
            if group.name == user.name and group.gid == user.gid and not group.members:
                self.accounts.groups.remove(group)
        self.accounts.save()
        if self.has("r"):
            shared = any(other.home == user.home for other in self.accounts.users)
            home = self.root / user.home.lstrip("/")
            if home.is_dir() and not shared and home != self.root:
                shutil.rmtree(home)
            (self.root / "var/mail" / user.name).unlink(missing_ok=True)
        return 0

    def user_mod(self) -> int:
        """pw usermod."""
        user = self.find_user()
        changed = replace(user)
        if self.has("u") and (self.has("n") or self.word is not None):
            uid = check_id(self.values["u"])
            other = self.accounts.user_of(uid)
            if other is not None and other is not user and not self.has("o"):
                raise fail(EX_DATAERR, f"uid `{uid}' has already been allocated")
            changed.uid = uid
        if self.has("l"):
            new = check_name(self.values["l"])
            if user.name == "root" and new != "root":
                raise fail(EX_DATAERR, "can't rename `root' account")
            if new != user.name and self.accounts.user(new) is not None:
                raise fail(EX_DATAERR, f"login name `{new}' already exists")
            changed.name = new
        if self.has("c"):
            changed.gecos = check_name(self.values["c"], gecos=True)
        if self.has("g"):
            changed.gid = self.find_gid(self.values["g"])
        if self.has("d"):
            changed.home = self.values["d"]
        if self.has("s"):
            changed.shell = self.find_shell(self.values["s"])
        if self.has("L"):
            changed.login_class = self.values["L"]
        for letter, name in (("e", "expire"), ("p", "change")):
            if self.has(letter):
                setattr(changed, name, self.read_time(letter))
        if self.has("w") or self.has("h") or self.has("H"):
            changed.password = self._new_password()
        if self.has("N"):
            self.show_user(changed)
            return 0
        if self.has("G"):
            wanted = [self._group_named(text) for text in self.values["G"].replace(",", " ").split()]
            for group in self.accounts.groups:
                if user.name in group.members and group not in wanted:
                    group.members.remove(user.name)
            for group in wanted:
                if user.name not in group.members:
                    group.members.append(user.name)
        if changed.name != user.name:
            for group in self.accounts.groups:
                group.members = [changed.name if name == user.name else name for name in group.members]
        self.accounts.users[self.accounts.users.index(user)] = changed
        self.accounts.save()
        if self.has("m"):
            self._make_home(changed)
        return 0

    def user_lock(self) -> int:
        """pw lock."""
        user = self.find_user()
        if user.password.startswith("*LOCKED*"):
            raise fail(EX_DATAERR, f"user '{user.name}' is already locked")
        user.password = f"*LOCKED*{user.password}"
        self.accounts.save()
        return 0

    def user_unlock(self) -> int:
        """pw unlock."""
        user = self.find_user()
        if not user.password.startswith("*LOCKED*"):
            raise fail(EX_DATAERR, f"user '{user.name}' is not locked")
        user.password = user.password.removeprefix("*LOCKED*")
        self.accounts.save()
        return 0

    # Groups

    def find_group(self) -> Group:
        """Return the group that -n, -g or the operand names. :raises CommandExit: none or unknown."""
        name = self.values.get("n")
        number = None
        if self.word is not None and name is None:
            if self.word.isdigit():
                number = check_id(self.word)
            else:
                name = self.word
        elif self.has("g") and name is None:
            number = check_id(self.values["g"])
        if name is None and number is None:
            raise fail(EX_DATAERR, "groupname or id required")
        group = self.accounts.group(name) if name is not None else self.accounts.group_of(number or 0)
        if group is None:
            raise fail(EX_DATAERR, f"unknown gid `{number}'" if name is None else f"unknown group `{name}'")
        return group

    def show_group(self, group: Group) -> None:
        """Print a group's line, or a form with -P."""
        if self.has("P"):
            self.call.out(f"Group Name: {group.name:<15}   #{group.gid}\n   Members: {','.join(group.members)}\n\n")
        else:
            self.call.out(group.line() + "\n")

    def group_show(self) -> int:
        """pw groupshow."""
        if self.has("a"):
            for group in self.accounts.groups:
                self.show_group(group)
            return 0
        try:
            group = self.find_group()
        except CommandExit:
            if not self.has("F"):
                raise
            group = Group("nogroup", "*", -1)
        self.show_group(group)
        return 0

    def group_next(self) -> int:
        """pw groupnext."""
        self.call.out(f"{next_free({group.gid for group in self.accounts.groups})}\n")
        return 0

    def _members(self, text: str) -> list[str]:
        found = []
        for word in text.replace(",", " ").split():
            user = self.accounts.user(word) or (self.accounts.user_of(int(word)) if word.isdigit() else None)
            if user is None:
                raise fail(EX_NOUSER, f"user `{word}' does not exist")
            if user.name not in found:
                found.append(user.name)
        return found

    def group_add(self) -> int:
        """pw groupadd."""
        name = self.values.get("n", self.word)
        if name is None:
            raise fail(EX_DATAERR, "group name required")
        if self.accounts.group(name) is not None:
            raise fail(EX_DATAERR, f"group name `{name}' already exists")
        taken = {group.gid for group in self.accounts.groups}
        gid = check_id(self.values["g"]) if self.has("g") else next_free(taken)
        if self.has("g") and gid in taken and not self.has("o"):
            raise fail(EX_DATAERR, f"gid `{gid}' has already been allocated")
        group = Group(check_name(name), "*", gid, self._members(self.values.get("M", "")))
        if self.has("N"):
            self.show_group(group)
            return 0
        self.accounts.groups.append(group)
        self.accounts.save()
        return 0

    def group_del(self) -> int:
        """pw groupdel."""
        self.accounts.groups.remove(self.find_group())
        self.accounts.save()
        return 0

    def group_mod(self) -> int:
        """pw groupmod; of -M, -d and -m only the first given counts."""
        group = self.find_group()
        changed = replace(group, members=list(group.members))
        if self.has("g") and (self.has("n") or self.word is not None) and check_id(self.values["g"]) > 0:
            changed.gid = check_id(self.values["g"])
        if self.has("l"):
            changed.name = check_name(self.values["l"])
        if self.has("M"):
            changed.members = self._members(self.values["M"])
        elif self.has("d"):
            gone = self.values["d"].replace(",", " ").split()
            changed.members = [name for name in changed.members if name not in gone]
        elif self.has("m"):
            changed.members += [name for name in self._members(self.values["m"]) if name not in changed.members]
        if self.has("N"):
            self.show_group(changed)
            return 0
        self.accounts.groups[self.accounts.groups.index(group)] = changed
        self.accounts.save()
        return 0


LETTERS = {
    "useradd": "C:qn:u:c:d:e:p:g:G:mM:k:s:oL:i:w:h:H:Db:NPy:Y", "userdel": "C:qn:u:rYy:",
    "usermod": "C:qn:u:c:d:e:p:g:G:mM:l:k:s:w:L:h:H:NPYy:", "usershow": "qn:u:FPa7", "usernext": "C:q",
    "userlock": "C:qn:u:", "userunlock": "C:qn:u:",
    "groupadd": "C:qn:g:h:H:M:oNPY", "groupdel": "C:qn:g:Y", "groupmod": "C:qn:d:g:l:h:H:M:m:NPY",
    "groupshow": "C:qn:g:FPa", "groupnext": "C:q",
}  # fmt: skip


def _split_verb(words: list[str]) -> tuple[str, list[str]]:
    """Return the joined verb ("useradd") and what follows it, in whichever order the words came."""
    first = words.pop(0)
    for what in ("user", "group"):
        for verb in VERBS:
            if first in (what + verb, verb + what):
                return what + verb, words
    if first in ("lock", "unlock"):
        return f"user{first}", words
    if words:
        second = words[0]
        for what, verb in ((first, second), (second, first)):
            if what in ("user", "group") and verb in VERBS:
                return what + verb, words[1:]
    raise CommandExit(EX_USAGE, USAGE)


def main(call: Call) -> int:
    """Run the command."""
    words = call.argv[1:]
    root = call.kernel.root
    while words and words[0].startswith("-"):
        letter = words[0][1:2]
        if letter in "RV" and letter:
            value = words[0][2:] or (words[1] if len(words) > 1 else "")
            words = words[1:] if words[0][2:] else words[2:]
            if letter == "V":
                raise NotSimulated("pw: -V")
            root = call.path(value)
        else:
            raise CommandExit(EX_USAGE, USAGE)
    if not words:
        raise CommandExit(EX_USAGE, USAGE)
    verb, rest = _split_verb(words)
    if verb not in LETTERS:
        raise CommandExit(EX_USAGE, USAGE)
    before = [rest.pop(0)] if rest and not rest[0].startswith("-") else []
    options, after = parse_options(replace(call, argv=["pw", *rest]), LETTERS[verb], "", EX_USAGE)
    operands = before + after
    if verb not in ("usershow", "groupshow", "usernext", "groupnext") and not call.is_root:
        raise fail(EX_NOPERM, "you must be root to run this program")
    with call.kernel.lock:
        run = Pw(call, root, options, operands)
        method: Callable[[], int] = getattr(run, verb.replace("user", "user_").replace("group", "group_"))
        try:
            return method()
        except CommandExit as error:
            if run.has("q"):
                raise CommandExit(error.status) from None
            raise
