"""The subcommands of `retouch`, one file each.

A file declares its command's options and calls the implementation. The server's packages are
imported inside the command, within `server_packages`, so that `retouch enhance` works without them.
"""
