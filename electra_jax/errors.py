"""The one exception that is meant for the user's eyes."""


class UserError(Exception):
  """A mistake the user can mend, told in one sentence.

  The sentence names the value, the place and the fix. The command line prints
  it without a traceback and ends with exit status 2.
  """
