"""What libnccl.so.2 shows: the functions of functions.txt and their twins, nothing else; those of the toolkit's nccl.h, where it is, are
exactly those that the list gives to its version. Arguments: the library, functions.txt, and nccl.h or nothing."""
import re
import subprocess
import sys

COUNTS = {"2.28.9": 41, "2.30.7": 23, "device": 6}


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def read_list(path):
    functions = {version: set() for version in COUNTS}
    with open(path, encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                version, name = line.split()
                functions[version].add(name)
    return functions


def exported(library):
    return {line.split()[-1] for line in run("nm", "-D", "--defined-only", library).splitlines() if line.split()}


def declared(header):
    with open(header, encoding="utf-8") as file:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", file.read(), flags=re.S)
    version = ".".join(re.search(rf"define NCCL_{part} (\d+)", text).group(1) for part in ("MAJOR", "MINOR", "PATCH"))
    return version, set(re.findall(r"(?:^|[\s*])(p?nccl\w+)\s*\([^;{}()]*\)\s*;", text))


def differences(what, got, expected):
    return [f"{what}: {name} is missing" for name in sorted(expected - got)] + \
           [f"{what}: {name} is there and was not expected" for name in sorted(got - expected)]


def with_twins(names):
    return names | {"p" + name for name in names}


def main():
    library, list_file, header = (sys.argv[1:] + [""])[:3]
    functions = read_list(list_file)
    problems = [f"functions.txt has {len(functions[v])} functions of {v}, not {n}" for v, n in COUNTS.items() if len(functions[v]) != n]
    everything = set().union(*functions.values())
    problems += differences("exported", exported(library), with_twins(everything))
    if header:
        version, names = declared(header)
        if version != "2.28.9":
            print(f"{header} is of NCCL {version}: not compared")
        else:
            problems += differences(header, names, with_twins(functions["2.28.9"]))
            print(f"{header}: {len(names)} functions of NCCL {version}")
    dynamic = run("readelf", "-d", library)
    if "soname: [libnccl.so.2]" not in dynamic:
        problems.append("the SONAME is not libnccl.so.2")
    for foreign in ("libtutti", "libcuda", "libnccl"):
        if re.search(rf"NEEDED.*\[{foreign}", dynamic):
            problems.append(f"it needs {foreign}*.so")
    print("\n".join(problems) or f"{len(everything)} functions and their twins")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
