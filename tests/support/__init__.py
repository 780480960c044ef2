"""What tests share: running servers, stand-ins for what is not here (named as such), and makers of input."""
