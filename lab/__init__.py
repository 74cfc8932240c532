"""Several hosts on one machine: network namespaces in place of containers and machines.

`network` makes hosts and cuts them off; `enter` gives a command a network of its own, in which that can be done.
"""
