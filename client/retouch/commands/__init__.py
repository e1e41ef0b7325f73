"""The subcommands of `retouch`, one file each.

A file declares its command's options and calls what does the work. What the server's packages bring
is imported inside the command, within `server_packages`, so that `retouch enhance` works without.
"""
