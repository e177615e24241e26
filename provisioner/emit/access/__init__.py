"""What readers and writers of a store may do, as the policies of each kind of store. Pure."""
