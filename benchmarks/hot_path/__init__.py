"""What leases and reports of quality cost a command: a client with both beside one without.

    file pool       --- child: instructions, CPU time --\\
                                                         > ratio, for each kind of call
    metaserver pool --- child: instructions, CPU time --/
"""
