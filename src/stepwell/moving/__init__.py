"""MOVES a database: everything that Stepwell has recorded goes on in another one."""
