"""The subcommands of `retouch`, one file each."""
