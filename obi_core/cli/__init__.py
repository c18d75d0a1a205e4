"""The program `obi`: one file per command, one border for errors (`main`)."""
