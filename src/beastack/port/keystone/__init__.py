"""What the port adds to keystone."""
