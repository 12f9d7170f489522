"""WhatsApp notifications for event organisers. See decisions in docs/, the door in ../app.py."""
