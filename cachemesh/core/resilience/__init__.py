"""What is sent again, when and where; and whether an instance is asked at all."""
