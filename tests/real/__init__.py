"""Real servers for the tests: started on free ports of loopback, waited for, and stopped by their ids."""
