"""The two ways in which the sizer stops on purpose."""


class UserError(Exception):
    """A mistake that the user can mend: a setting, a policy file, a topic, a command line.

    The message is one line that names the thing, its value and what was expected. The command line
    prints it without a traceback and exits with status 2.
    """


class Doubt(Exception):  # noqa: N818 - the field's word would be "fatal error"; what it says is that we cannot be sure
    """The worker cannot be sure of its state or of its ownership of a partition.

    It must not publish anything more: the process exits with status 70 and is to be restarted, which
    fences whatever was in flight and reads the committed state anew.
    """
