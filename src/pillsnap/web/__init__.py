"""What both servers share: who may ask, the listening socket, limits on connections."""
