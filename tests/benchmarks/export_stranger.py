"""Asks an exported folder as someone does who has nothing but the folder.

  python tests/benchmarks/export_stranger.py FOLDER FILE KIND < texts.jsonl

Takes the folder's own example.py with the name of the model changed to FILE,
and prints its answer to each text as JSON: nothing of electra_jax is imported.
"""

import json
import pathlib
import re
import sys


def main() -> None:
  """Answers each line of standard input."""
  folder, file, kind = pathlib.Path(sys.argv[1]), *sys.argv[2:4]
  source = (folder / "example.py").read_text()
  source, changes = re.subn(
      '^MODEL = ".+?"', f"MODEL = {file!r}", source, flags=re.MULTILINE
  )
  if changes != 1:
    raise SystemExit(f"{folder / 'example.py'} names no model")
  space = {"__name__": "example", "__file__": str(folder / "example.py")}
  exec(compile(source, "example.py", "exec"), space)
  for line in sys.stdin:
    fields = json.loads(line)
    if kind == "tagging":
      arguments = [space["split"](fields["text"])]
    else:
      names = ("text", "other_text", "question", "context")
      arguments = [fields[name] for name in names if name in fields]
    (found,) = space["answer"](*arguments).values()
    print(json.dumps(found))
  if any(name.split(".")[0] in ("electra_jax", "jax") for name in sys.modules):
    raise SystemExit("a package was used that a stranger does not have")


if __name__ == "__main__":
  main()
