# Read by ctest: tests choose by the library's defaults, whatever profile the user has of this machine.
set(ENV{TUTTI_PROFILE} none)
