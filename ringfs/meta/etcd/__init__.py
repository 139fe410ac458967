"""etcd as the metadata service uses it: interface.py says what is asked, client.py asks a real one."""
