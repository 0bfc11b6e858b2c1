# What `cmake --install` puts where, and the package files that find it again.
