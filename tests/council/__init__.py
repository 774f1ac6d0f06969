"""The council, tried over real HTTP."""
